"""Q5_0: 32 weights of 5 bits under one scale. w = d * (q - 16); qh holds the fifth bits in order."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single, unpack

LAYOUT = np.dtype([("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])


def codes(blocks: NDArray) -> NDArray[np.uint8]:
    """The 5-bit values of Q5_0 and Q5_1 blocks (..., n): uint8 (..., n, 32)."""
    return unpack(blocks["qs"], bits=4, run=16) | unpack(blocks["qh"], bits=1, run=1) << np.uint8(4)


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * (codes(blocks).view(np.int8) - np.int8(16)))


FORMAT = Format("q5_0", 6, 32, LAYOUT, dequantize)
