"""Models in several files: `name-00001-of-00005.gguf`. Finds the parts by name and checks that they belong
together.

The first part carries the model's metadata; the others only need the split.* keys. What else they say is not
used.
"""

import re
from pathlib import Path
from typing import NoReturn

import numpy as np

from localmix.errors import FileFormatError
from localmix.gguf.header import Header

_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def part_name(stem: str, index: int, count: int) -> str:
    """The name of part `index`, counted from 0."""
    return f"{stem}-{index + 1:05d}-of-{count:05d}.gguf"


def paths(path: Path) -> list[Path]:
    """All parts of the model that `path` is a part of, in order; [path] if its name is not that of a part.

    FileFormatError naming the parts that are missing. A missing `path` itself is left to whoever opens it.
    """
    match = _NAME.fullmatch(path.name)
    if match is None or not path.exists():
        return [path]
    number, count = int(match["number"]), int(match["count"])
    if not 1 <= number <= count:
        raise FileFormatError(f"{path}: the name says part {number} of {count}, expected a part from 1 to {count}")
    parts = [path.with_name(part_name(match["stem"], index, count)) for index in range(count)]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise FileFormatError(f"{path}: found {count - len(missing)} of {count} parts; missing beside it: {names}")
    return parts


def check(headers: list[Header]) -> None:
    """Refuse parts that contradict their names or each other."""
    if len(headers) == 1:
        _check_alone(headers[0])
        return
    total = sum(len(header.tensors) for header in headers)
    for index, header in enumerate(headers):
        for key, expected, why in (
            ("split.count", len(headers), "as in the file's name"),
            ("split.no", index, "the number in the file's name less one"),
            ("split.tensors.count", total, "the tensors in all parts"),
        ):
            if _number(header, key) != expected:
                _fail(header, key, _number(header, key), f"{expected}, {why}")


def _check_alone(header: Header) -> None:
    """A file that is not named like a part must not be one. llama.cpp leaves count 0 in merged files."""
    count = _number(header, "split.count") if "split.count" in header.metadata else 1
    if count > 1:
        name = part_name("NAME", _number(header, "split.no"), count)
        _fail(header, "split.count", count, f"1 for a file of this name; rename the parts, this one to {name}")


def _number(header: Header, key: str) -> int:
    value = header.metadata.get(key)
    if not isinstance(value, np.integer):
        _fail(header, key, "nothing" if value is None else type(value).__name__, "an integer")
    return int(value)


def _fail(header: Header, key: str, found: object, expected: str) -> NoReturn:
    raise FileFormatError(f"{header.path}: {key}: found {found}, expected {expected}")
