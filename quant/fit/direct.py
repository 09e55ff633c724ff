"""Rounding without a search: the extreme values of a block set its scale, each weight goes to the nearest code.

These are the definitions that every GGUF program shares for Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1, to the bit (the
`gguf` package's in the tests). They run near memory speed, because each step is a kernel of its own over a tile that
stays in the first-level cache: LLVM makes vector instructions of a short loop with nothing else around it, and
single ones of the same loop between others (measured: 7 times as slow). Extremes are sought in whole numbers that
are in the order of the weights: of those it knows that they may be compared in any order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant import f16
from quant.format import Blocks, Floats
from quant.jit import kernel

BLOCK = 32
TILE = 128  # blocks; 16 KB of weights
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)

# Bits of single precision: all but the sign, and how far the sign is from the lowest.
MAGNITUDE, SIGN = np.int32(0x7FFFFFFF), np.int32(31)

# Of 8 codes in a word the low bits; the fifth bits, shifted down, and what brings them together in its top byte.
NIBBLES, FOUR = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(4)
FIFTHS, TO_TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(0x0102040810204080)

Bytes = NDArray[np.uint8]
Bits = NDArray[np.int32]
Words = NDArray[np.uint64]


def round_signed(rows: Floats, bottom: int, layout: np.dtype) -> Blocks:
    """w = d * (q - bottom), the weight of largest magnitude at q = 0: blocks (R, n) of rows (R, n * 32)."""
    blocks, raw = empty_blocks(rows, layout)
    signed_blocks(rows.reshape(-1, BLOCK), bottom, raw, *places(layout, "d", "qs", "qh"))
    return blocks


def round_between(rows: Floats, top: int, layout: np.dtype) -> Blocks:
    """w = d * q + m, the lowest weight at q = 0 and the highest at `top`: blocks (R, n) of rows (R, n * 32)."""
    blocks, raw = empty_blocks(rows, layout)
    between_blocks(rows.reshape(-1, BLOCK), top, raw, *places(layout, "d", "m", "qs", "qh"))
    return blocks


def round_bytes(rows: Floats, layout: np.dtype) -> Blocks:
    """w = d * q, the weight of largest magnitude at q = 127 or -127: blocks (R, n) of rows (R, n * 32)."""
    blocks, raw = empty_blocks(rows, layout)
    byte_blocks(rows.reshape(-1, BLOCK), raw, *places(layout, "d", "qs"))
    return blocks


def empty_blocks(rows: Floats, layout: np.dtype) -> tuple[Blocks, Bytes]:
    """Blocks (R, n) for rows (R, n * 32), and the bytes (R * n, B) that they are."""
    blocks = np.empty((len(rows), rows.shape[1] // BLOCK), layout)
    return blocks, blocks.view(np.uint8).reshape(-1, layout.itemsize)


def places(layout: np.dtype, *fields: str) -> tuple[int, ...]:
    """Where in a block these fields begin; 0 for one that it has not."""
    known: Mapping[str, Any] = layout.fields or {}
    return tuple(known[name][1] if name in known else 0 for name in fields)


@kernel
def signed_blocks(x: Floats, bottom: int, out: Bytes, at_d: int, low: int, fifth: int) -> None:
    scales, inverses, codes = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty((TILE, BLOCK), np.uint8)
    bits, words, halves = x.view(np.int32), codes.view(np.uint64), np.empty(TILE, np.uint16)
    for i in range(0, x.shape[0], TILE):
        some, place = x[i : i + TILE], out[i : i + TILE]
        d, inverse = scales[: len(some)], inverses[: len(some)]
        find_extremes(bits[i : i + TILE], d.view(np.int32), inverse.view(np.int32))
        keep_largest(some, d, inverse)
        invert(d, np.float32(-bottom), inverse)
        put_halves(d, halves, place, at_d)
        signed_codes(some, inverse, bottom, codes)
        put_codes(words, place, low, fifth)


@kernel
def between_blocks(x: Floats, top: int, out: Bytes, at_d: int, at_m: int, low: int, fifth: int) -> None:
    scales, lowest, inverses = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    codes, halves = np.empty((TILE, BLOCK), np.uint8), np.empty(TILE, np.uint16)
    bits, words = x.view(np.int32), codes.view(np.uint64)
    for i in range(0, x.shape[0], TILE):
        some, place = x[i : i + TILE], out[i : i + TILE]
        d, m, inverse = scales[: len(some)], lowest[: len(some)], inverses[: len(some)]
        find_extremes(bits[i : i + TILE], d.view(np.int32), m.view(np.int32))
        for block in range(len(d)):
            d[block] -= m[block]
        invert(d, np.float32(top), inverse)
        put_halves(d, halves, place, at_d)
        put_halves(m, halves, place, at_m)
        between_codes(some, inverse, m, top, codes)
        put_codes(words, place, low, fifth)


@kernel
def byte_blocks(x: Floats, out: Bytes, at_d: int, at: int) -> None:
    scales, inverses, halves = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.uint16)
    bits = x.view(np.int32)
    for i in range(0, x.shape[0], TILE):
        some, place = x[i : i + TILE], out[i : i + TILE]
        d, inverse = scales[: len(some)], inverses[: len(some)]
        find_magnitudes(bits[i : i + TILE], d.view(np.int32))
        invert(d, np.float32(127), inverse)
        put_halves(d, halves, place, at_d)
        put_bytes(some, inverse, place.view(np.int8), at)


@kernel
def ordered(bits: np.int32) -> np.int32:
    """A whole number in the order of the weights, for the bits of a weight; and the same back."""
    return np.int32(bits ^ (bits >> SIGN & MAGNITUDE))


@kernel
def larger(a: np.int32, b: np.int32) -> np.int32:
    return a if a > b else b


@kernel
def smaller(a: np.int32, b: np.int32) -> np.int32:
    return a if a < b else b


@kernel
def find_extremes(bits: Bits, highest: Bits, lowest: Bits) -> None:
    for i in range(bits.shape[0]):
        high = low = ordered(bits[i, 0])
        for j in range(bits.shape[1]):  # a number that is known only when it runs: LLVM would unroll the loop first
            value = ordered(bits[i, j])
            high, low = larger(high, value), smaller(low, value)
        highest[i], lowest[i] = ordered(high), ordered(low)


@kernel
def find_magnitudes(bits: Bits, magnitude: Bits) -> None:
    for i in range(bits.shape[0]):
        high = np.int32(0)
        for j in range(bits.shape[1]):  # as above
            high = larger(high, np.int32(bits[i, j] & MAGNITUDE))
        magnitude[i] = high


@kernel
def keep_largest(x: Floats, highest: Floats, lowest: Floats) -> None:
    """Of each block's extremes the one of larger magnitude, in place of `highest`; of equal ones the first.

    In two loops: no branch of the first, which would be guessed wrong in every other block, none of the second taken.
    """
    for i in range(x.shape[0]):
        highest[i] = lowest[i] if highest[i] < -lowest[i] else highest[i]
    for i in range(x.shape[0]):
        if highest[i] == -lowest[i]:
            highest[i] = first_of(x[i], highest[i])


@kernel
def first_of(x: Floats, magnitude: float) -> float:
    for j in range(BLOCK):
        if abs(x[j]) == magnitude:
            return x[j]
    return magnitude


@kernel
def invert(d: Floats, steps: float, inverse: Floats) -> None:
    """Scales from the values that they cover in so many steps, in place; and one over them."""
    for i in range(d.shape[0]):
        d[i] /= steps
        inverse[i] = ONE / d[i] if d[i] != ZERO else ZERO


@kernel
def signed_codes(x: Floats, inverse: Floats, bottom: int, codes: Bytes) -> None:
    top, middle = np.int32(2 * bottom - 1), np.float32(bottom) + HALF
    for i in range(x.shape[0]):
        for j in range(BLOCK):
            codes[i, j] = min(np.int32(x[i, j] * inverse[i] + middle), top)


@kernel
def between_codes(x: Floats, inverse: Floats, lowest: Floats, top: int, codes: Bytes) -> None:
    for i in range(x.shape[0]):
        for j in range(BLOCK):
            codes[i, j] = min(np.int32((x[i, j] - lowest[i]) * inverse[i] + HALF), np.int32(top))


@kernel
def put_halves(values: Floats, halves: NDArray[np.uint16], out: Bytes, at: int) -> None:
    """Values in half precision, one a block; low byte first, as everywhere in GGUF. `halves` is for the work."""
    f16.narrow(values.view(np.uint32), halves)
    for i in range(out.shape[0]):
        out[i, at], out[i, at + 1] = np.uint8(halves[i]), np.uint8(halves[i] >> np.uint16(8))


@kernel
def put_bytes(x: Floats, inverse: Floats, out: NDArray[np.int8], at: int) -> None:
    """Whole numbers towards zero; a half goes away from zero, as in C's roundf."""
    for i in range(x.shape[0]):
        place = out[i, at : at + BLOCK]
        for j in range(BLOCK):
            t = x[i, j] * inverse[i]
            whole = np.int32(t)
            place[j] = np.int8(whole + np.int32((t - np.float32(whole)) * TWO))


@kernel
def put_codes(words: Words, out: Bytes, low: int, fifth: int) -> None:
    """Codes of 4 or 5 bits, 8 in a word, into their blocks: two nibbles a byte, 16 weights apart, and fifth bits."""
    for i in range(out.shape[0]):
        place = out[i, low : low + 16]
        for j in range(2):
            put_word(words[i, j] & NIBBLES | (words[i, j + 2] & NIBBLES) << FOUR, place[8 * j : 8 * j + 8])
    if fifth:
        put_fifths(words, out, fifth)


@kernel
def put_word(word: np.uint64, place: Bytes) -> None:
    """Low byte first, whatever the processor's order: LLVM makes one instruction of it."""
    for byte in range(8):
        place[byte] = np.uint8(word >> np.uint64(8 * byte))


@kernel
def put_fifths(words: Words, out: Bytes, at: int) -> None:
    """Fifth bits of codes that lie 8 in a word, 4 words a block, in order."""
    for i in range(out.shape[0]):
        place = out[i, at : at + 4]
        for j in range(4):
            bits = words[i, j] >> FOUR & FIFTHS
            place[j] = np.uint8(bits * TO_TOP_BYTE >> np.uint64(56))
