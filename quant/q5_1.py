"""Q5_1: 32 weights of 5 bits under a scale and a minimum. w = d * q + m; the bits lie as in Q5_0."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single
from quant.q5_0 import codes

LAYOUT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * codes(blocks) + single(blocks["m"]))


FORMAT = Format("q5_1", 7, 32, LAYOUT, dequantize)
