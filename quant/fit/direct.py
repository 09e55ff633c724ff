"""Rounding without a search: the extreme values of a block set its scale, each weight goes to the nearest code.

These are the definitions that every GGUF program shares for Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1, to the bit (the
`gguf` package's in the tests). They run near memory speed: extremes are found on the bits of the floats, because
whole numbers have one order of maxima and so vectorise, and floats with their NaNs do not.
"""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats
from quant.jit import kernel

BLOCK = 32
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
SIGN, MAGNITUDE = np.int32(-(2**31)), np.int32(2**31 - 1)


def round_signed(rows: Floats, bottom: int) -> tuple[Floats, NDArray[np.uint8]]:
    """w = d * (q - bottom), the weight of largest magnitude at q = 0: d (N,) and q (N, 32)."""
    blocks = rows.reshape(-1, BLOCK)
    d, codes = np.empty(len(blocks), np.float32), np.empty(blocks.shape, np.uint8)
    signed_codes(blocks, blocks.view(np.int32), bottom, d, codes)
    return d, codes


def round_between(rows: Floats, top: int) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """w = d * q + m, the lowest weight at q = 0 and the highest at `top`: d (N,), m (N,) and q (N, 32)."""
    blocks = rows.reshape(-1, BLOCK)
    d, m = np.empty((2, len(blocks)), np.float32)
    codes = np.empty(blocks.shape, np.uint8)
    between_codes(blocks, blocks.view(np.int32), top, d, m, codes)
    return d, m, codes


def round_bytes(rows: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """w = d * q, the weight of largest magnitude at q = 127 or -127: d (N,) and q (N, 32)."""
    blocks = rows.reshape(-1, BLOCK)
    d, codes = np.empty(len(blocks), np.float32), np.empty(blocks.shape, np.int8)
    byte_codes(blocks, blocks.view(np.int32), d, codes)
    return d, codes


@kernel
def signed_codes(x: Floats, bits: NDArray[np.int32], bottom: int, d: Floats, codes: NDArray[np.uint8]) -> None:
    top = np.int32(2 * bottom - 1)
    for i in range(x.shape[0]):
        scale = largest(x[i], bits[i]) / np.float32(-bottom)
        inverse = ONE / scale if scale != ZERO else ZERO
        d[i] = scale
        for j in range(BLOCK):
            codes[i, j] = min(np.int32(x[i, j] * inverse + (np.float32(bottom) + HALF)), top)


@kernel
def largest(x: Floats, bits: NDArray[np.int32]) -> np.float32:
    """The value of largest magnitude; the first of them where both signs have it."""
    above = below = np.int32(0)
    for j in range(BLOCK):
        above = max(above, bits[j])
        below = max(below, bits[j] ^ SIGN)
    wanted = max(above, below)
    for j in range(BLOCK):
        if (bits[j] & MAGNITUDE) == wanted:
            return x[j]
    return ZERO


@kernel
def between_codes(x: Floats, bits: NDArray[np.int32], top: int, d: Floats, m: Floats, codes: NDArray[np.uint8]) -> None:
    for i in range(x.shape[0]):
        low, high = MAGNITUDE, SIGN
        for j in range(BLOCK):
            ordered = bits[i, j] ^ ((bits[i, j] >> 31) & MAGNITUDE)
            low, high = min(low, ordered), max(high, ordered)
        lowest, highest = from_ordered(low), from_ordered(high)
        scale = (highest - lowest) / np.float32(top)
        inverse = ONE / scale if scale != ZERO else ZERO
        d[i], m[i] = scale, lowest
        for j in range(BLOCK):
            codes[i, j] = min(np.int32((x[i, j] - lowest) * inverse + HALF), np.int32(top))


@kernel
def from_ordered(ordered: int) -> np.float32:
    """The float whose bits, the magnitude flipped where negative, are `ordered`."""
    return np.int32(ordered ^ ((ordered >> 31) & MAGNITUDE)).view(np.float32)


@kernel
def byte_codes(x: Floats, bits: NDArray[np.int32], d: Floats, codes: NDArray[np.int8]) -> None:
    for i in range(x.shape[0]):
        magnitude = np.int32(0)
        for j in range(BLOCK):
            magnitude = max(magnitude, bits[i, j] & MAGNITUDE)
        scale = np.int32(magnitude).view(np.float32) / np.float32(127)
        inverse = ONE / scale if scale != ZERO else ZERO
        d[i] = scale
        for j in range(BLOCK):
            t = x[i, j] * inverse
            whole = np.int32(t)  # towards zero; a half goes away from zero, as in C's roundf
            codes[i, j] = np.int8(whole + np.int32((t - np.float32(whole)) * TWO))
