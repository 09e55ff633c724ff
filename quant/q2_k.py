"""Q2_K: 256 weights of 2 bits in 16 groups, each with a 4-bit scale and a 4-bit minimum.

w = d * scale * q - dmin * minimum, scale in the low nibble and minimum in the high one.
"""

import numpy as np
from numpy.typing import NDArray

from quant.fit import affine
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import merge, single, unpack

GRID = affine.Grid(groups=16, size=16, top=3, levels=15)
LAYOUT = np.dtype([("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")])


def dequantize(blocks: NDArray) -> Floats:
    scale = single(blocks["d"]) * (blocks["scales"] & np.uint8(15))  # (..., n, 16)
    minimum = single(blocks["dmin"]) * (blocks["scales"] >> np.uint8(4))
    q = unpack(blocks["qs"], bits=2, run=32).reshape(*scale.shape, 16)
    return merge(merge(scale[..., None] * q - minimum[..., None]))


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = affine.fit(rows, importance, GRID)
    blocks = np.empty(len(fit.d), LAYOUT)
    blocks["d"], blocks["dmin"] = fit.d, fit.dmin
    blocks["scales"] = fit.scales | fit.minima << np.uint8(4)
    blocks["qs"] = pack(fit.codes, bits=2, run=32)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("q2_k", 10, 256, LAYOUT, dequantize, quantize)
