"""The values of GGUF metadata and their bytes, both ways.

A number keeps the type that the file gives it as a NumPy scalar (np.uint32, np.float32, ...), so that what
was read is written back the same. Written values may also be plain Python ones: an int is u32 where it fits
(else i32, u64, i64, the first that does), a float is f32, a bool is bool. Arrays are NumPy arrays of numbers,
lists of strings, or lists of arrays; a bare list of Python numbers is refused, because it does not say its
type.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from localmix.gguf.cursor import Cursor, shown

NUMBERS: dict[int, np.dtype] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
STRING, ARRAY = 8, 9
TYPE_OF = {dtype: number for number, dtype in NUMBERS.items()}
MAX_DEPTH = 8  # arrays in arrays; files seen in the wild have one level

# Tokens may be pieces of characters, so they may be any bytes: those that are not UTF-8 become lone
# surrogates (PEP 383) and are written back as they were. Every other string must be UTF-8.
ANY_BYTES = frozenset({"tokenizer.ggml.tokens"})


@dataclass(frozen=True)
class Reserved:
    """A string of `size` spaces, to be replaced later by one of at most `size` bytes: see `patch`."""

    size: int


Value = np.generic | str | NDArray | list[Any]
Writable = Value | Reserved | bool | int | float | tuple[Any, ...]
Metadata = Mapping[str, Writable]


def unicode_errors(key: str) -> str:
    """How bytes that are not UTF-8 are treated in the strings of `key`, as in bytes.decode."""
    return "surrogateescape" if key in ANY_BYTES else "strict"


def plain(value: Value) -> Any:
    """The value without its width: NumPy scalars become int, float or bool."""
    return value.item() if isinstance(value, np.generic) else value


def read_value(cursor: Cursor, kind: int, key: str, depth: int = 0) -> Value:
    """The value of type number `kind` at the cursor."""
    if kind in NUMBERS:
        return _read_numbers(cursor, NUMBERS[kind], 1, key)[0]
    if kind == STRING:
        return cursor.string(key, unicode_errors(key))
    if kind != ARRAY:
        cursor.fail(f"{key}: type", kind, "a value type from 0 to 12")
    if depth == MAX_DEPTH:
        cursor.fail(f"{key}: type", "a deeper array", f"arrays nested at most {MAX_DEPTH} deep")
    inner, count = cursor.u32(f"{key}: type of the items"), cursor.u64(f"{key}: length")
    if inner in NUMBERS:
        return _read_numbers(cursor, NUMBERS[inner], count, f"{key}: length")
    if inner == STRING:
        return cursor.strings(count, key, unicode_errors(key))
    if inner != ARRAY:
        cursor.fail(f"{key}: type of the items", inner, "a value type from 0 to 12")
    cursor.require(count, 12, f"{key}: length")
    cursor.claim(count, f"{key}: length")
    return [read_value(cursor, ARRAY, key, depth + 1) for _ in range(count)]


def _read_numbers(cursor: Cursor, dtype: np.dtype, count: int, field: str) -> NDArray:
    """(count,) numbers, read-only."""
    cursor.require(count, dtype.itemsize, field)
    raw = cursor.take(count * dtype.itemsize, field)
    if dtype == np.bool_ and count and max(raw) > 1:
        cursor.fail(field, max(raw), "0 or 1 for a bool")
    return np.frombuffer(raw, dtype)


def encode_string(text: str, errors: str = "strict") -> bytes:
    """A string as the file holds it: the length in bytes, then UTF-8."""
    raw = text.encode("utf-8", errors)
    return struct.pack("<Q", len(raw)) + raw


def encode_value(key: str, value: Writable) -> tuple[int, bytes]:
    """The type number and the bytes of a value. TypeError or ValueError for what GGUF cannot hold."""
    if isinstance(value, Reserved):
        return STRING, encode_string(" " * value.size)
    if isinstance(value, str):
        return STRING, encode_string(value, unicode_errors(key))
    if _is_array(value):
        return ARRAY, _encode_array(key, value)
    number = np.asarray(_with_width(key, value))
    kind = TYPE_OF.get(number.dtype.newbyteorder("<"))
    if kind is None:
        raise TypeError(f"{key}: {type(value).__name__} is not a GGUF metadata type")
    return kind, number.astype(NUMBERS[kind]).tobytes()


def _is_array(value: object) -> TypeGuard[Sequence[Any] | NDArray]:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _encode_array(key: str, value: Sequence[Any] | NDArray) -> bytes:
    """The items' type, their number, and the items. A list without items is one of strings."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        kind = TYPE_OF.get(value.dtype.newbyteorder("<"))
        if kind is None:
            raise TypeError(f"{key}: an array of {value.dtype} is not a GGUF metadata type")
        return struct.pack("<IQ", kind, len(value)) + value.astype(NUMBERS[kind]).tobytes()
    if all(isinstance(item, str) for item in value):
        errors = unicode_errors(key)
        return struct.pack("<IQ", STRING, len(value)) + b"".join(encode_string(s, errors) for s in value)
    if all(_is_array(item) for item in value):
        return struct.pack("<IQ", ARRAY, len(value)) + b"".join(_encode_array(key, item) for item in value)
    raise TypeError(f"{key}: a list holds strings or arrays; give numbers as a NumPy array, which says their type")


def _with_width(key: str, value: Any) -> Any:
    """A Python number as the NumPy scalar that it is written as."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, float) and not isinstance(value, np.generic):
        return np.float32(value)
    if not isinstance(value, int):
        return value
    for dtype in (np.uint32, np.int32, np.uint64, np.int64):
        if np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            return dtype(value)
    raise ValueError(f"{key}: {shown(str(value))} does not fit 64 bits")
