"""BF16: the upper half of single precision, no blocks. NumPy has no such type: uint16 holds the bits."""

import numpy as np
from numpy.typing import NDArray

from quant.format import LARGEST_BFLOAT, Floats, Format
from quant.jit import kernel

MAGNITUDE, INFINITE = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
BELOW_HALF, QUIET = np.uint32(0x7FFF), np.uint32(0x40)
ONE, UPPER = np.uint32(1), np.uint32(16)


def dequantize(blocks: NDArray) -> Floats:
    bits = blocks.astype(np.uint32)
    bits <<= UPPER  # in place: memory that is new to the process takes longer than the shift
    return bits.view(np.float32)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Rounded to nearest, ties to even; a NaN stays one."""
    out = np.empty(rows.size, np.uint16)
    narrow(np.ascontiguousarray(rows).reshape(-1).view(np.uint32), out)
    return out.reshape(rows.shape)


@kernel
def narrow(bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    for i in range(bits.size):
        upper = np.uint32(bits[i] >> UPPER)
        rounded = np.uint32(bits[i] + BELOW_HALF + (upper & ONE)) >> UPPER
        out[i] = np.uint16(upper | QUIET if np.uint32(bits[i] & MAGNITUDE) > INFINITE else rounded)


FORMAT = Format("bf16", 30, 1, np.dtype("<u2"), dequantize, quantize, error=2.8e-6, largest=LARGEST_BFLOAT)
