"""Keys and values of one sequence on disk: appended to as the sequence grows, read back as far as it is sound.

A line of JSON says what it belongs to; then come parts, each a line of JSON (ids, length, checksum) and the bytes.
A part cut off or damaged is as if it and all after it were not there: nothing has to be written in one step.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_VERSION = 1
_LINE = 1 << 24  # longest line


@dataclass(frozen=True)
class _Part:
    ids: list[int]
    start: int  # of the bytes in the file
    length: int
    checksum: int

    @property
    def end(self) -> int:
        return self.start + self.length


def write(path: Path, model: str, ids: Sequence[int], kv: NDArray[Any]) -> None:
    """Bring the file up to `ids` and their keys and values (layers, 2, K, n, d): what it has of them stays."""
    head = {"localmix": _VERSION, "model": model, "dtype": str(kv.dtype), "shape": _shape(kv)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "w+b") as file:
        path.chmod(0o600)
        at, known = 0, 0
        if _line(file) == head:
            at = file.tell()
            for part in _parts(file):
                if part.ids != list(ids[known : known + len(part.ids)]):
                    break
                at, known = part.end, known + len(part.ids)
        file.seek(at)
        file.truncate()
        if at == 0:
            file.write(_json(head))
        if known < len(ids):
            raw = np.ascontiguousarray(kv[:, :, :, known:]).data.cast("B")
            part_head = {"ids": list(ids[known:]), "bytes": len(raw), "crc32": zlib.crc32(raw)}
            file.write(_json(part_head))
            file.write(raw)


def read(path: Path, model: str) -> tuple[list[int], NDArray[Any] | None, bool]:
    """Ids, their keys and values (None where there are none), and whether all of the file was sound.

    ValueError: it is another model's, or no such file at all. OSError: it cannot be read.
    """
    ids: list[int] = []
    pieces: list[NDArray[Any]] = []
    with path.open("rb") as file:
        head = _line(file)
        if not isinstance(head, dict) or head.get("localmix") != _VERSION or head.get("model") != model:
            raise ValueError("keys and values of another model")
        try:
            dtype, (layers, both, heads, size) = np.dtype(head["dtype"]), head["shape"]
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from None
        end = file.tell()
        for part in _parts(file):
            file.seek(part.start)
            raw = file.read(part.length)
            shape = (layers, both, heads, len(part.ids), size)
            if zlib.crc32(raw) != part.checksum or part.length != dtype.itemsize * int(np.prod(shape)):
                break
            pieces.append(np.frombuffer(raw, dtype).reshape(shape))
            ids += part.ids
            end = part.end
        sound = end == path.stat().st_size
    return ids, np.concatenate(pieces, axis=3) if pieces else None, sound


def _parts(file: BinaryIO) -> Iterator[_Part]:
    """All parts that are there in full, bytes unread."""
    size = file.seek(0, 2)
    file.seek(0)
    file.readline(_LINE)
    at = file.tell()
    while True:
        file.seek(at)
        head = _line(file)
        try:
            part = _Part([int(id) for id in head["ids"]], file.tell(), int(head["bytes"]), int(head["crc32"]))
        except (KeyError, TypeError, ValueError):
            return
        if not part.ids or part.length < 0 or part.end > size:
            return
        yield part
        at = part.end


def _line(file: BinaryIO) -> Any:
    """The next line as JSON; None if it is none."""
    try:
        return json.loads(file.readline(_LINE))
    except ValueError:
        return None


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _shape(kv: NDArray[Any]) -> list[int]:
    return [*kv.shape[:3], kv.shape[4]]
