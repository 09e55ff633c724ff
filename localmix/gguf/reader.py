"""An open GGUF file: its metadata, and its tensors as read-only views on the memory map.

Nothing is copied and no weight is read at opening. A model in several files (`-00001-of-00005.gguf`) is
opened from any of them and looks like one.
"""

import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from localmix.errors import FileFormatError
from localmix.gguf import kinds, shards
from localmix.gguf.header import Header, read_header
from localmix.gguf.metadata import Value, plain
from localmix.gguf.tensors import Extent, Tensor


class File:
    """A GGUF file, or all files of a split one.

    `metadata` holds int, float, bool and str; arrays of numbers are NumPy arrays, of strings list[str]
    (tokens that are not UTF-8 with lone surrogates), of arrays lists. `typed_metadata` is the same with each
    number as the NumPy scalar that the file stores: hand it to a Writer to copy it exactly. `tensors` is in
    file order. `size` in bytes.
    """

    def __init__(self, path: Path, typed_metadata: Mapping[str, Value], tensors: dict[str, Tensor], size: int) -> None:
        self.path = path
        self.typed_metadata = dict(typed_metadata)
        self.metadata: dict[str, Any] = {key: plain(value) for key, value in typed_metadata.items()}
        self.tensors = tensors
        self.size = size

    def close(self) -> None:
        """Let go of the tensors. The map itself ends with the last view of it, so that no view can dangle."""
        self.tensors = {}

    def __enter__(self) -> "File":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open(path: str | os.PathLike[str]) -> File:
    """Open a GGUF file. FileFormatError: damaged or no GGUF. UnsupportedError: sound, but not read here."""
    given = Path(path)
    opened = [map_header(part) for part in shards.paths(given)]
    headers = [header for header, _ in opened]
    shards.check(headers)
    tensors: dict[str, Tensor] = {}
    for header, data in opened:
        for tensor in _views(header, data):
            if tensor.name in tensors:
                raise FileFormatError(f"{header.path}: tensor {tensor.name!r} is also in an earlier part of the model")
            tensors[tensor.name] = tensor
    return File(given, headers[0].metadata, tensors, sum(header.size for header in headers))


def map_header(path: Path) -> tuple[Header, mmap.mmap]:
    """Map one file read-only and read its header."""
    with kinds.open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:  # cannot be mapped
            kinds.refuse(path, b"")
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise FileFormatError(f"{path}: cannot be mapped into memory: {error}") from None
    _in_large_pieces(data)
    return read_header(path, data), data


def _in_large_pieces(data: mmap.mmap) -> None:
    """What is read from the disk from now on stays in memory in pieces of 2 MB, where the system can do that: a
    processor finds them by one entry each, and weights that are spread over a large file are read up to twice as fast.
    """
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            data.madvise(mmap.MADV_HUGEPAGE)


def _views(header: Header, data: mmap.mmap) -> list[Tensor]:
    """The tensors of one file as views on its map."""
    raw = np.frombuffer(data, np.uint8)
    tensors = []
    for placed in header.tensors:
        info = placed.info
        blocks = raw[placed.start : placed.end].view(info.format.dtype).reshape(info.block_shape)
        extent = Extent(header.path, placed.start, info.nbytes)
        tensors.append(Tensor(info.name, info.shape, info.format, blocks, extent))
    return tensors
