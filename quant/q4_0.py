"""Q4_0: 32 weights of 4 bits under one scale. w = d * (q - 8); the first 16 weights are the low nibbles."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single, unpack

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])


def dequantize(blocks: NDArray) -> Floats:
    q = unpack(blocks["qs"], bits=4, run=16).view(np.int8) - np.int8(8)  # (..., n, 32)
    return merge(single(blocks["d"]) * q)


FORMAT = Format("q4_0", 2, 32, LAYOUT, dequantize)
