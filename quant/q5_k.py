"""Q5_K: Q4_K with a fifth bit a weight, in qh. w = d * scale * q - dmin * minimum."""

import numpy as np
from numpy.typing import NDArray

from quant.fit import affine
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import unpack
from quant.q4_k import apply_scales, put_scales

GRID = affine.Grid(groups=8, size=32, top=31, levels=63)
LAYOUT = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)])


def dequantize(blocks: NDArray) -> Floats:
    fifth = unpack(blocks["qh"], bits=1, run=32) << np.uint8(4)
    return apply_scales(blocks, unpack(blocks["qs"], bits=4, run=32) | fifth)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = affine.fit(rows, importance, GRID)
    blocks = np.empty(len(fit.d), LAYOUT)
    put_scales(blocks, fit)
    blocks["qs"] = pack(fit.codes & np.uint8(15), bits=4, run=32)
    blocks["qh"] = pack(fit.codes >> np.uint8(4), bits=1, run=32)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("q5_k", 13, 256, LAYOUT, dequantize, quantize)
