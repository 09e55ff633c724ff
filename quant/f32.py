"""F32: single precision, no blocks."""

import numpy as np
from numpy.typing import NDArray

from quant.format import LARGEST_SINGLE, Floats, Format


def dequantize(blocks: NDArray) -> Floats:
    return blocks.astype(np.float32, copy=False)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    return rows.astype(np.float32, copy=False)


FORMAT = Format("f32", 0, 1, np.dtype("<f4"), dequantize, quantize, error=0.0, largest=LARGEST_SINGLE)
