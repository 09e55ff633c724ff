"""Typed reading of the `tokenizer.ggml.*` keys: a wrong value is named before anything is built."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.errors import FileFormatError

Metadata = Mapping[str, Any]


def read_string(metadata: Metadata, key: str) -> str:
    """The string under `key`; FileFormatError where it is missing or something else."""
    value = metadata.get(key)
    if not isinstance(value, str):
        raise _refuse(key, value, "a string")
    return value


def read_strings(metadata: Metadata, key: str, *, empty: bool = False) -> list[str]:
    """The list of strings under `key`; FileFormatError where it is missing or something else, empty unless `empty`."""
    value = metadata.get(key)
    if empty and isinstance(value, list | np.ndarray) and not len(value):
        return []
    if not isinstance(value, list) or set(map(type, value)) != {str}:
        raise _refuse(key, value, "a list of strings")
    return value


def read_numbers(metadata: Metadata, key: str, count: int) -> NDArray[Any]:
    """The (count,) numbers under `key`; FileFormatError where they are missing, more or fewer."""
    value = metadata.get(key)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or value.shape != (count,):
        raise _refuse(key, value, f"{count} numbers, one per token")
    return value


def read_flag(metadata: Metadata, key: str, *, default: bool) -> bool:
    """The truth value under `key`, `default` where it is absent."""
    value = metadata.get(key, default)
    if not isinstance(value, bool | np.bool_):
        raise _refuse(key, value, "true or false")
    return bool(value)


def read_ids(metadata: Metadata, name: str, count: int) -> list[int]:
    """The ids under `tokenizer.ggml.{name}_token_id`, and under `_ids`, in a vocabulary of `count`; mostly one or none.

    llama.cpp writes one number, Ollama an array beside it.
    """
    found: dict[int, None] = {}  # a set that keeps the order: the first is the one that templates print
    for key in (f"tokenizer.ggml.{name}_token_id", f"tokenizer.ggml.{name}_token_ids"):
        value = metadata.get(key)
        for id in () if value is None else value if isinstance(value, list | np.ndarray) else (value,):
            if not isinstance(id, int | np.integer) or isinstance(id, bool) or not 0 <= id < count:
                raise _refuse(key, value, f"an id below {count}, the size of the vocabulary")
            found[int(id)] = None
    return list(found)


def _refuse(key: str, value: Any, expected: str) -> FileFormatError:
    return FileFormatError(f"{key} is {_describe(value)}, expected {expected}: convert the model again")


def _describe(value: Any) -> str:
    """A value in a few words."""
    if value is None:
        return "missing"
    if isinstance(value, list | np.ndarray):
        return f"a list of {len(value)} values"
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:57] + "..."
