"""F16: half precision, no blocks. NumPy converts one number at a time; the kernels here do it in vectors, on bits."""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format
from quant.jit import kernel

# Bits of single precision: the magnitude, the smallest half that is not subnormal, 2 ** -14, and infinity.
MAGNITUDE, NORMAL, INFINITE = np.uint32(0x7FFFFFFF), np.uint32(0x38800000), np.uint32(0x7F800000)
REBIAS = np.uint32((127 - 15) << 23)  # between the two exponents
BELOW_HALF = np.uint32(0xFFF)  # just below half a unit of what 13 bits less can say
SIGN, TOP, QUIET = np.uint32(0x8000), np.uint32(0x7C00), np.uint32(0x7E00)  # bits of half precision; TOP: infinity
LARGEST, SUBNORMALS = np.uint32(0x7FFF), np.uint32(0x400)  # all but the sign; how many magnitudes are subnormal
SMALLEST = np.float32(2**-24)
ONE, DROPPED, UPPER = np.uint32(1), np.uint32(13), np.uint32(16)
HALF, HALF_BITS = np.float32(0.5), np.uint32(0x3F000000)


def dequantize(blocks: NDArray) -> Floats:
    return blocks.astype(np.float32)


def widen(blocks: NDArray) -> Floats:
    """What `dequantize` gives, 10 times as fast, for those who use Numba anyway."""
    halves = np.ascontiguousarray(blocks).reshape(-1).view(np.uint16)
    out = np.empty(halves.size, np.uint32)
    widen_bits(halves, out)
    return out.view(np.float32).reshape(blocks.shape)


@kernel
def widen_bits(halves: NDArray[np.uint16], out: NDArray[np.uint32]) -> None:
    for i in range(halves.size):
        half = np.uint32(halves[i])
        m = np.uint32(half & LARGEST)
        normal = np.uint32((m << DROPPED) + REBIAS)
        normal += REBIAS if m >= TOP else np.uint32(0)  # infinities and NaNs have the highest exponent there is
        small = np.float32(np.float32(np.int32(m)) * SMALLEST).view(np.uint32)
        out[i] = np.uint32((normal if m >= SUBNORMALS else small) | (half & SIGN) << UPPER)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Rounded to nearest, ties to even; magnitudes from 65520 on become infinite, a NaN stays one."""
    out = np.empty(rows.size, np.uint16)
    narrow(np.ascontiguousarray(rows).reshape(-1).view(np.uint32), out)
    return out.view(np.float16).reshape(rows.shape)


@kernel
def narrow(bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    for i in range(bits.size):
        m = np.uint32(bits[i] & MAGNITUDE)
        odd = np.uint32(m >> DROPPED & ONE)
        normal = np.uint32(m - REBIAS + BELOW_HALF + odd) >> DROPPED
        # Half a unit of a sum with 0.5 is half a subnormal: the addition rounds.
        subnormal = np.uint32(np.float32(m.view(np.float32) + HALF).view(np.uint32) - HALF_BITS)
        half = subnormal if m < NORMAL else min(normal, TOP)
        half = QUIET if m > INFINITE else half
        out[i] = np.uint16(half | (bits[i] >> UPPER & SIGN))


FORMAT = Format("f16", 1, 1, np.dtype("<f2"), dequantize, quantize, error=4.3e-8)
