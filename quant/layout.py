"""Packed bit fields: how GGUF formats lay small integers out in bytes, and back.

Every format uses one pattern with different numbers. Bytes come in runs; the first field of each byte of a
run holds the first `run` values, the second field the next `run` values, and so on. With a run of 1 the
values of a byte are neighbours.
"""

from functools import reduce

import numpy as np
from numpy.typing import NDArray


def unpack(packed: NDArray[np.uint8], bits: int, run: int) -> NDArray[np.uint8]:
    """Fields of `bits` bits from bytes (..., P), low bits first: uint8 (..., P * 8 // bits)."""
    if bits == 8:
        return packed
    packed = np.ascontiguousarray(packed)
    per_byte, mask, runs = 8 // bits, np.uint8((1 << bits) - 1), np.dtype((np.void, run))
    fields = np.empty((*packed.shape[:-1], packed.shape[-1] // run, per_byte), runs)
    for i in range(per_byte):  # of all bytes at once; what is then moved is whole runs
        fields[..., i] = (packed >> np.uint8(i * bits) & mask).view(runs)
    return fields.view(np.uint8).reshape(*packed.shape[:-1], packed.shape[-1] * per_byte)


def pack(fields: NDArray[np.uint8], bits: int, run: int) -> NDArray[np.uint8]:
    """The inverse of `unpack`: values below 2 ** bits, (..., N), to bytes (..., N * bits // 8)."""
    per_byte = 8 // bits
    if run == 1:  # neighbours are words, whose lowest byte is left
        words = np.ascontiguousarray(fields).view(f"<u{per_byte}")
        moved = [words >> words.dtype.type(i * (8 - bits)) for i in range(per_byte)]
        return reduce(np.bitwise_or, moved).astype(np.uint8)
    runs = fields.reshape(*fields.shape[:-1], fields.shape[-1] // (per_byte * run), per_byte, run)
    packed = runs[..., 0, :].copy()
    for i in range(1, per_byte):
        packed |= runs[..., i, :] << np.uint8(i * bits)
    return packed.reshape(*fields.shape[:-1], fields.shape[-1] // per_byte)


def merge(values: NDArray) -> NDArray[np.float32]:
    """Values (..., n, block) as rows (..., n * block)."""
    return values.reshape(*values.shape[:-2], values.shape[-2] * values.shape[-1])
