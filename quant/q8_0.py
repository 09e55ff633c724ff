"""Q8_0: 32 weights as signed bytes under one scale. w = d * q."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import merge, single

LAYOUT = np.dtype([("d", "<f2"), ("qs", "i1", 32)])


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * blocks["qs"])


FORMAT = Format("q8_0", 8, 32, LAYOUT, dequantize)
