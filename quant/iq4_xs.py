"""IQ4_XS: 256 weights on IQ4_NL's levels in 8 groups, each with a signed 6-bit scale.

w = d * (scale - 32) * LEVELS[q]; the scales' low nibbles are in scales_l, their upper two bits in scales_h.
"""

import numpy as np
from numpy.typing import NDArray

from quant.fit import symmetric
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.iq4_nl import LEVELS
from quant.layout import merge, single, unpack

GRID = symmetric.Grid(groups=8, size=32, bottom=symmetric.UNEVEN, levels=32)
LAYOUT = np.dtype([("d", "<f2"), ("scales_h", "u1", 2), ("scales_l", "u1", 4), ("qs", "u1", 128)])


def dequantize(blocks: NDArray) -> Floats:
    scale6 = unpack(blocks["scales_l"], bits=4, run=1) | unpack(blocks["scales_h"], bits=2, run=1) << np.uint8(4)
    scale = single(blocks["d"]) * (scale6.view(np.int8) - np.int8(32))  # (..., n, 8)
    level = LEVELS[unpack(blocks["qs"], bits=4, run=16)].reshape(*scale.shape, 32)
    return merge(merge(scale[..., None] * level))


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = symmetric.fit(rows, importance, GRID)
    blocks = np.empty(len(fit.d), LAYOUT)
    scales = (fit.scales + np.int8(32)).view(np.uint8)
    blocks["d"], blocks["qs"] = fit.d, pack(fit.codes, bits=4, run=16)
    blocks["scales_l"] = pack(scales & np.uint8(15), bits=4, run=1)
    blocks["scales_h"] = pack(scales >> np.uint8(4), bits=2, run=1)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("iq4_xs", 23, 256, LAYOUT, dequantize, quantize)
