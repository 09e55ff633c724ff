"""Q4_1: 32 weights of 4 bits under a scale and a minimum. w = d * q + m."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single, unpack

LAYOUT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])


def dequantize(blocks: NDArray) -> Floats:
    q = unpack(blocks["qs"], bits=4, run=16)  # (..., n, 32)
    return merge(single(blocks["d"]) * q + single(blocks["m"]))


FORMAT = Format("q4_1", 3, 32, LAYOUT, dequantize)
