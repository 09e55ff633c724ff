"""BF16: the upper half of single precision, no blocks. NumPy has no such type: uint16 holds the bits."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format


def dequantize(blocks: NDArray) -> Floats:
    return (blocks.astype(np.uint32) << np.uint32(16)).view(np.float32)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Rounded to nearest, ties to even; a NaN stays one."""
    bits = rows.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)
    quiet = bits >> np.uint32(16) | np.uint32(0x40)
    return np.where(np.isnan(rows), quiet, rounded).astype(np.uint16)


FORMAT = Format("bf16", 30, 1, np.dtype("<u2"), dequantize, quantize)
