"""F16: half precision, no blocks."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format


def dequantize(blocks: NDArray) -> Floats:
    return blocks.astype(np.float32)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Rounded to nearest, ties to even; magnitudes beyond 65504 become infinite."""
    with np.errstate(over="ignore"):
        return rows.astype(np.float16)


FORMAT = Format("f16", 1, 1, np.dtype("<f2"), dequantize, quantize)
