"""Q5_K: Q4_K with a fifth bit a weight, in qh. w = d * scale * q - dmin * minimum."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.layout import unpack
from quant.q4_k import apply_scales

LAYOUT = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)])


def dequantize(blocks: NDArray) -> Floats:
    fifth = unpack(blocks["qh"], bits=1, run=32) << np.uint8(4)
    return apply_scales(blocks, unpack(blocks["qs"], bits=4, run=32) | fifth)


FORMAT = Format("q5_k", 13, 256, LAYOUT, dequantize)
