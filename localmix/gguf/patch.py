"""Replace metadata values of a finished file in place, where the new bytes take exactly the room of the old
ones.

Numbers always do. A string does where room was `Reserved` for it, or where it is no longer than what it
replaces: the rest is filled with spaces. Used for what is known only after the weights are written, such as a
receipt.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from localmix.gguf.header import Header
from localmix.gguf.metadata import Writable, encode_string, encode_value
from localmix.gguf.reader import map_header


def patch(path: str | os.PathLike[str], values: Mapping[str, Writable]) -> None:
    """Write `values` over those of the same keys; all are checked before the first is written.

    KeyError: the file has no such key. ValueError: the value is of another type, or does not fit. OSError:
    the disk.
    """
    header, data = map_header(Path(path))
    encoded = [(header.spans[key][0], _fitting(header, key, value)) for key, value in values.items()]
    data.close()
    with open(path, "r+b") as file:
        for start, raw in encoded:
            file.seek(start)
            file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _fitting(header: Header, key: str, value: Any) -> bytes:
    """The bytes of `value`, exactly as many as the value of `key` has now."""
    now = header.metadata[key]
    start, end = header.spans[key]
    if isinstance(now, np.generic) and not isinstance(value, str):  # a number takes the width that is there
        narrowed = now.dtype.type(value)
        if now.dtype.kind != "f" and narrowed != value:
            raise ValueError(f"{key}: {value} does not fit {now.dtype}")
        value = narrowed
    kind, raw = encode_value(key, value)
    if kind != encode_value(key, now)[0]:
        raise ValueError(f"{key}: {type(value).__name__} cannot replace {type(now).__name__}")
    if isinstance(value, str):
        raw = encode_string(value + " " * (end - start - len(raw)))
    if len(raw) != end - start:
        raise ValueError(f"{key}: the new value takes {len(raw)} bytes, there is room for {end - start}")
    return raw
