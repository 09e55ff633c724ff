"""IQ4_XS: 256 weights on IQ4_NL's levels in 8 groups, each with a signed 6-bit scale.

w = d * (scale - 32) * LEVELS[q]; the scales' low nibbles are in scales_l, their upper two bits in scales_h.
"""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.iq4_nl import LEVELS
from quant.layout import merge, single, unpack

LAYOUT = np.dtype([("d", "<f2"), ("scales_h", "u1", 2), ("scales_l", "u1", 4), ("qs", "u1", 128)])


def dequantize(blocks: NDArray) -> Floats:
    scale6 = unpack(blocks["scales_l"], bits=4, run=1) | unpack(
        blocks["scales_h"], bits=2, run=1
    ) << np.uint8(4)
    scale = single(blocks["d"]) * (scale6.view(np.int8) - np.int8(32))  # (..., n, 8)
    level = LEVELS[unpack(blocks["qs"], bits=4, run=16)].reshape(*scale.shape, 32)
    return merge(merge(scale[..., None] * level))


FORMAT = Format("iq4_xs", 23, 256, LAYOUT, dequantize)
