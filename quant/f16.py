"""F16: half precision, no blocks."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format


def dequantize(blocks: NDArray) -> Floats:
    return blocks.astype(np.float32)


FORMAT = Format("f16", 1, 1, np.dtype("<f2"), dequantize)
