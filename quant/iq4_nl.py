"""IQ4_NL: 32 weights of 4 bits that name one of 16 unevenly spaced levels. w = d * LEVELS[q]."""

import numpy as np
from numpy.typing import NDArray

from quant.fit import symmetric
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import merge, single, unpack

GRID = symmetric.Grid(groups=1, size=32, bottom=symmetric.UNEVEN, levels=1)
LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])
LEVELS = symmetric.LEVELS.astype(np.int8)


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * LEVELS[unpack(blocks["qs"], bits=4, run=16)])


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    d, codes = symmetric.fit_single(rows, importance, GRID)
    blocks = np.empty(len(d), LAYOUT)
    blocks["d"], blocks["qs"] = d, pack(codes, bits=4, run=16)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("iq4_nl", 20, 32, LAYOUT, dequantize, quantize)
