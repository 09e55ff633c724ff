"""MXFP4: 32 weights as 4-bit floats (E2M1) under a shared power of two, from the OCP microscaling standard.

w = 2 ** (e - 128) * LEVELS[q]; the levels are doubled to be integers, hence 128 and not the bias of 127.
"""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, unpack

LAYOUT = np.dtype([("e", "u1"), ("qs", "u1", 16)])
LEVELS = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.int8)


def dequantize(blocks: NDArray) -> Floats:
    scale = np.ldexp(np.float32(1), blocks["e"].astype(np.int32) - 128)[..., None]
    return merge(scale * LEVELS[unpack(blocks["qs"], bits=4, run=16)])


FORMAT = Format("mxfp4", 39, 32, LAYOUT, dequantize)
