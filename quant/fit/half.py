"""Half precision inside kernels, which know only float32."""

import numpy as np

from quant.jit import kernel

SMALLEST_NORMAL = np.float32(2.0**-14)
SUBNORMAL_MAGIC = np.float32(0.75)  # 1.5 * 2 ** 23 * 2 ** -24: adding it rounds to multiples of 2 ** -24
SPLIT = np.float32(2**13 + 1)  # Veltkamp's split to 24 - 13 = 11 significant bits
LARGEST = np.float32(65504)


@kernel
def to_half(value: float) -> np.float32:
    """The half-precision value nearest to `value`, as float32; clipped to the finite ones."""
    v = np.float32(value)
    if abs(v) < SMALLEST_NORMAL:
        return (v + SUBNORMAL_MAGIC) - SUBNORMAL_MAGIC
    v = max(min(v, LARGEST), -LARGEST)
    t = v * SPLIT
    return t - (t - v)
