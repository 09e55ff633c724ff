"""BF16: the upper half of single precision, no blocks. NumPy has no such type: uint16 holds the bits."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format


def dequantize(blocks: NDArray) -> Floats:
    return (blocks.astype(np.uint32) << np.uint32(16)).view(np.float32)


FORMAT = Format("bf16", 30, 1, np.dtype("<u2"), dequantize)
