"""Q6_K: 256 weights of 6 bits in 16 groups, each with a signed 8-bit scale. w = d * scale * (q - 32)."""

import numpy as np
from numpy.typing import NDArray

from quant.fit import symmetric
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import merge, single, unpack

GRID = symmetric.Grid(groups=16, size=16, bottom=32, levels=128)
LAYOUT = np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")])


def dequantize(blocks: NDArray) -> Floats:
    scale = single(blocks["d"]) * blocks["scales"]  # (..., n, 16)
    q = unpack(blocks["ql"], bits=4, run=64) | unpack(blocks["qh"], bits=2, run=32) << np.uint8(4)
    signed = (q.view(np.int8) - np.int8(32)).reshape(*scale.shape, 16)
    return merge(merge(scale[..., None] * signed))


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = symmetric.fit(rows, importance, GRID)
    blocks = np.empty(len(fit.d), LAYOUT)
    blocks["d"], blocks["scales"] = fit.d, fit.scales
    blocks["ql"] = pack(fit.codes & np.uint8(15), bits=4, run=64)
    blocks["qh"] = pack(fit.codes >> np.uint8(4), bits=2, run=32)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("q6_k", 14, 256, LAYOUT, dequantize, quantize)
