"""Q3_K: 256 weights of 3 bits in 16 groups, each with a signed 6-bit scale.

w = d * (scale - 32) * (q - 4), where the third bit of q lies in hmask. The scales' low nibbles are in the
first 8 of their 12 bytes, their upper two bits in the last 4.
"""

import numpy as np
from numpy.typing import NDArray

from quant.fit import symmetric
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import merge, single, unpack

GRID = symmetric.Grid(groups=16, size=16, bottom=4, levels=32)
LAYOUT = np.dtype([("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")])


def dequantize(blocks: NDArray) -> Floats:
    low = unpack(blocks["scales"][..., :8], bits=4, run=8)
    high = unpack(blocks["scales"][..., 8:], bits=2, run=4)
    scale = single(blocks["d"]) * ((low | high << np.uint8(4)).view(np.int8) - np.int8(32))  # (..., n, 16)
    q = unpack(blocks["qs"], bits=2, run=32) | unpack(blocks["hmask"], bits=1, run=32) << np.uint8(2)
    signed = (q.view(np.int8) - np.int8(4)).reshape(*scale.shape, 16)
    return merge(merge(scale[..., None] * signed))


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = symmetric.fit(rows, importance, GRID)
    blocks = np.empty(len(fit.d), LAYOUT)
    scales = (fit.scales + np.int8(32)).view(np.uint8)
    blocks["d"] = fit.d
    blocks["scales"][:, :8] = pack(scales & np.uint8(15), bits=4, run=8)
    blocks["scales"][:, 8:] = pack(scales >> np.uint8(4), bits=2, run=4)
    blocks["qs"] = pack(fit.codes & np.uint8(3), bits=2, run=32)
    blocks["hmask"] = pack(fit.codes >> np.uint8(2), bits=1, run=32)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("q3_k", 11, 256, LAYOUT, dequantize, quantize)
