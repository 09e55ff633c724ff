"""Bounded reading of a file header: each length is compared with the bytes that are left before it is used.

Damaged counts therefore cost neither memory nor time. The cursor knows little-endian integers and strings;
what they mean is said in `metadata` and `header`.
"""

from mmap import mmap
from pathlib import Path
from typing import NoReturn

from localmix.errors import FileFormatError

# The largest real headers (vocabularies of 260 thousand tokens with merges) take about 16 MB and a million
# strings.
HEADER_LIMIT = 256 << 20
OBJECT_LIMIT = 4 << 20


def shown(text: str) -> str:
    """A string from a file, fit for a one-line message: quoted, escaped, and cut to 60 characters."""
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}..."


class Cursor:
    """A position in the header of the mapped file `path`. Errors are FileFormatErrors naming the field."""

    def __init__(self, path: Path, data: mmap) -> None:
        self.path = path
        self.at = 0
        self._data = data
        self._end = min(len(data), HEADER_LIMIT)
        self._objects = OBJECT_LIMIT

    def fail(self, field: str, found: object, expected: str) -> NoReturn:
        """Raise the one-line error: file, field, found and expected."""
        raise FileFormatError(f"{self.path}: {field}: found {found}, expected {expected}")

    def require(self, count: int, size: int, field: str) -> None:
        """Refuse `count` items of at least `size` bytes each when they reach beyond the end."""
        left = self._end - self.at
        if count * size <= left:
            return
        what = f"{count} items of {size} or more bytes" if size != 1 else f"{count} bytes"
        if self._end < len(self._data):
            self.fail(field, what, f"a header of at most {HEADER_LIMIT} bytes")
        self.fail(field, what, f"at most the {left} bytes left in the file; it is truncated or damaged")

    def claim(self, count: int, field: str) -> None:
        """Count the objects that Python will hold, so that no file can ask for too many."""
        self._objects -= count
        if self._objects < 0:
            self.fail(field, f"{count} items", f"at most {OBJECT_LIMIT} strings and arrays in a file")

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes."""
        self.require(count, 1, field)
        self.at += count
        return self._data[self.at - count : self.at]

    def u32(self, field: str) -> int:
        return int.from_bytes(self.take(4, field), "little")

    def u64(self, field: str) -> int:
        return int.from_bytes(self.take(8, field), "little")

    def string(self, field: str, errors: str = "strict") -> str:
        """A string after its length in bytes. `errors` as in bytes.decode."""
        return self.strings(1, field, errors)[0]

    def strings(self, count: int, field: str, errors: str) -> list[str]:
        """`count` strings. The hot loop of opening a file: 15 ms for 49 thousand tokens."""
        self.require(count, 8, field)
        self.claim(count, field)
        data, end, start = self._data, self._end, self.at
        from_bytes = int.from_bytes
        found: list[str] = []
        try:
            for _ in range(count):
                first = start + 8
                last = first + from_bytes(data[start:first], "little")
                if last > end:
                    self._refuse_string(start, last, _element(field, len(found), count))
                found.append(data[first:last].decode("utf-8", errors))
                start = last
        except UnicodeDecodeError as error:
            self.fail(
                _element(field, len(found), count),
                f"byte 0x{error.object[error.start]:02x} at {error.start} of {len(error.object)}",
                "UTF-8 text; the file is damaged",
            )
        self.at = start
        return found

    def _refuse_string(self, start: int, last: int, field: str) -> NoReturn:
        """Name what is cut off: the length at `start`, or the text after it up to `last`."""
        self.at = start
        self.take(8, f"{field}: length")
        self.require(last - self.at, 1, f"{field}: length")
        raise AssertionError("a string that fits was refused")


def _element(field: str, index: int, count: int) -> str:
    return field if count == 1 else f"{field}[{index}]"
