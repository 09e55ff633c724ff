"""Write a GGUF file (version 3, little endian) a few rows at a time.

The header goes first, because all sizes are known. The file grows under a temporary name beside the final one
and is moved there when it is complete and on the disk: no half-written file ever bears the final name, and a
failure leaves nothing behind. Shapes are reversed here, as in `header`.
"""

import errno
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from localmix.errors import LocalmixError
from localmix.gguf.header import ALIGNMENT_KEY, ALIGNMENTS, DEFAULT_ALIGNMENT, MAX_DIMENSIONS, VERSIONS, is_alignment
from localmix.gguf.kinds import MAGIC
from localmix.gguf.metadata import Metadata, Writable, encode_string, encode_value
from localmix.gguf.patch import patch
from localmix.gguf.tensors import TensorInfo

MAX_NAME = 63  # bytes; llama.cpp refuses longer names of tensors


class Writer:
    """`with Writer(path, metadata, tensors) as out: out.write(name, blocks)` for each tensor, in order.

    `metadata`: see `gguf.metadata` for the types that values take. `size` is that of the finished file, in
    bytes. Misuse (wrong order, shapes or types, a tensor left incomplete) raises ValueError; the disk raises
    LocalmixError.
    """

    def __init__(self, path: str | os.PathLike[str], metadata: Metadata, tensors: Sequence[TensorInfo]) -> None:
        self.path = Path(path)
        self._alignment = int(metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT))  # type: ignore[arg-type]
        if not is_alignment(self._alignment):
            raise ValueError(f"{ALIGNMENT_KEY}: found {self._alignment}, expected {ALIGNMENTS}")
        _check_tensors(tensors)
        self._waiting = list(reversed(tensors))  # the one being written is the last
        self._written = 0  # bytes of it
        self.header = _encode_header(metadata, tensors, self._alignment)
        self.size = len(self.header) + sum(_padded(info.nbytes, self._alignment) for info in tensors)
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._file: BinaryIO | None = None

    def __enter__(self) -> "Writer":
        with self._disk_errors():
            if self.path.is_dir():
                raise LocalmixError(f"{self.path}: is a folder, expected a file name to write to")
            free = shutil.disk_usage(self.path.parent).free
            if free < self.size:
                raise LocalmixError(f"{self.path}: needs {self.size} bytes, the disk has {free} free")
            self._file = open(self._temporary, "wb")
        try:
            self._append(self.header)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, name: str, blocks: NDArray) -> None:
        """The next rows of tensor `name`: blocks (..., n) of its format, n blocks being one row."""
        while self._waiting and self._waiting[-1].name != name and not self._waiting[-1].nbytes:
            self._waiting.pop()  # an empty tensor needs no call
        if not self._waiting or self._waiting[-1].name != name:
            expected = self._waiting[-1].name if self._waiting else "nothing more"
            raise ValueError(f"{self.path}: tensor {name} was written, expected {expected}")
        info = self._waiting[-1]
        if blocks.dtype != info.format.dtype or blocks.shape[-1:] != info.block_shape[-1:]:
            expected = f"rows of {info.block_shape[-1]} blocks {info.format.dtype} ({info.format.name})"
            raise ValueError(f"{name}: found {blocks.dtype} {blocks.shape}, expected {expected}")
        if self._written + blocks.nbytes > info.nbytes:
            raise ValueError(f"{name}: {self._written + blocks.nbytes} bytes, expected {info.nbytes}")
        self._append(np.ascontiguousarray(blocks).reshape(-1).view(np.uint8).data)
        self._written += blocks.nbytes
        if self._written == info.nbytes:
            self._append(bytes(-self._written % self._alignment))
            self._waiting.pop()
            self._written = 0

    def patch(self, key: str, value: Writable) -> None:
        """Replace a metadata value of the same size (see `gguf.patch`), after the last tensor is written."""
        self._check_complete()
        with self._disk_errors():
            self._open_file.flush()
            patch(self._temporary, {key: value})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._check_complete()
                self._move_into_place()
        finally:
            self._discard()

    @property
    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("a Writer writes inside its `with` block")
        return self._file

    def _append(self, raw: bytes | memoryview) -> None:
        with self._disk_errors():
            self._open_file.write(raw)

    def _check_complete(self) -> None:
        missing = [info for info in reversed(self._waiting) if info.nbytes]
        if missing:
            info = missing[0]
            raise ValueError(f"{self.path}: tensor {info.name} has {self._written} of {info.nbytes} bytes")

    def _move_into_place(self) -> None:
        with self._disk_errors():
            self._open_file.flush()
            os.fsync(self._open_file.fileno())
            self._open_file.close()
            os.replace(self._temporary, self.path)

    def _discard(self) -> None:
        """Close and remove the temporary file; after the move there is none."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError:  # what is still buffered does not fit: it is thrown away anyway
            pass
        finally:
            self._file = None
            self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """What the system says about the disk as one line for the user."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                reason = f"the disk is full; {self.size} bytes are needed"
            else:
                reason = error.strerror or str(error)
            raise LocalmixError(f"{self.path}: cannot be written: {reason}") from error


def _padded(count: int, alignment: int) -> int:
    return count + -count % alignment


def _check_tensors(tensors: Sequence[TensorInfo]) -> None:
    names = set()
    for info in tensors:
        if info.name in names or not 0 < len(info.name.encode()) <= MAX_NAME:
            raise ValueError(f"tensor {info.name!r}: names differ and have 1 to {MAX_NAME} bytes")
        if not 1 <= len(info.shape) <= MAX_DIMENSIONS or info.shape[-1] % info.format.block:
            raise ValueError(f"tensor {info.name}: shape {info.shape} cannot be stored as {info.format.name}")
        names.add(info.name)


def _encode_header(metadata: Metadata, tensors: Sequence[TensorInfo], alignment: int) -> bytes:
    """Everything before the weights, padded to the alignment."""
    parts = [MAGIC, struct.pack("<IQQ", max(VERSIONS), len(tensors), len(metadata))]
    for key, value in metadata.items():
        kind, raw = encode_value(key, value)
        parts += [encode_string(key), struct.pack("<I", kind), raw]
    offset = 0
    for info in tensors:
        sizes = info.shape[::-1]
        parts += [encode_string(info.name), struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)]
        parts += [struct.pack("<IQ", info.format.ggml, offset)]
        offset += _padded(info.nbytes, alignment)
    header = b"".join(parts)
    return header + bytes(-len(header) % alignment)
