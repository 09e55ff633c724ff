"""Q6_K: 256 weights of 6 bits in 16 groups, each with a signed 8-bit scale. w = d * scale * (q - 32)."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single, unpack

LAYOUT = np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")])


def dequantize(blocks: NDArray) -> Floats:
    scale = single(blocks["d"]) * blocks["scales"]  # (..., n, 16)
    q = unpack(blocks["ql"], bits=4, run=64) | unpack(blocks["qh"], bits=2, run=32) << np.uint8(4)
    signed = (q.view(np.int8) - np.int8(32)).reshape(*scale.shape, 16)
    return merge(merge(scale[..., None] * signed))


FORMAT = Format("q6_k", 14, 256, LAYOUT, dequantize)
