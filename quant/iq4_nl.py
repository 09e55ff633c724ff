"""IQ4_NL: 32 weights of 4 bits that name one of 16 unevenly spaced levels. w = d * LEVELS[q]."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single, unpack

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])
LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.int8)


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * LEVELS[unpack(blocks["qs"], bits=4, run=16)])


FORMAT = Format("iq4_nl", 20, 32, LAYOUT, dequantize)
