"""Write a GGUF file (version 3, little endian) a few rows at a time.

The header goes first, because all sizes are known. The file grows beside its final name (see `partial`) and is
moved there when it is complete and on the disk: no half-written file ever bears the final name. A failure leaves
nothing behind; an interruption leaves what can be resumed. Shapes are reversed here, as in `header`.
"""

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from localmix.gguf.header import ALIGNMENT_KEY, ALIGNMENTS, DEFAULT_ALIGNMENT, MAX_DIMENSIONS, VERSIONS, is_alignment
from localmix.gguf.kinds import MAGIC
from localmix.gguf.metadata import Metadata, Writable, encode_string, encode_value
from localmix.gguf.partial import Partial
from localmix.gguf.patch import patch
from localmix.gguf.tensors import TensorInfo

MAX_NAME = 63  # bytes; llama.cpp refuses longer names of tensors


class Writer:
    """`with Writer(path, metadata, tensors) as out: out.write(name, blocks)` for each tensor, in order.

    `metadata`: see `gguf.metadata` for the types that values take. `size` is that of the finished file, in
    bytes. With an `identity`, which names all that the weights come from, a KeyboardInterrupt (or a crash) leaves
    a part that is continued when `resume` is given: `resumed` says what it holds. Misuse (wrong order, shapes or
    types, a tensor left incomplete) raises ValueError; the disk raises LocalmixError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metadata: Metadata,
        tensors: Sequence[TensorInfo],
        identity: str | None = None,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._alignment = int(metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT))  # type: ignore[arg-type]
        if not is_alignment(self._alignment):
            raise ValueError(f"{ALIGNMENT_KEY}: found {self._alignment}, expected {ALIGNMENTS}")
        _check_tensors(tensors)
        self._waiting = list(reversed(tensors))  # the one being written is the last
        self._written = 0  # bytes of it
        self.header = _encode_header(metadata, tensors, self._alignment)
        self.size = len(self.header) + sum(_padded(info.nbytes, self._alignment) for info in tensors)
        self.resumed: dict[str, int] = {}  # rows of each tensor that an earlier Writer wrote
        self._resume = resume
        self._complete = False  # and on the disk
        digest = None if identity is None else hashlib.sha256(identity.encode() + self.header).hexdigest()
        self._partial = Partial(self.path, self.size, digest)

    def __enter__(self) -> "Writer":
        try:
            self._partial.open(self._resume)
            if self._partial.done:
                self._skip(self._partial.done - len(self.header))
            else:
                self._partial.append(self.header)
        except BaseException:
            if not self._partial.done:
                self._partial.discard()
            raise
        return self

    @property
    def done(self) -> int:
        """Bytes of the file that are written, by this Writer or by the one that it resumes."""
        return self._partial.done

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
        written = self._written + blocks.nbytes
        if written > info.nbytes:
            raise ValueError(f"{name}: {written} bytes, expected {info.nbytes}")
        complete = written == info.nbytes
        padding = bytes(-written % self._alignment if complete else 0)
        self._partial.append(np.ascontiguousarray(blocks).reshape(-1).view(np.uint8).data, padding)
        self._written = written
        if complete:
            self._waiting.pop()
            self._written = 0

    def patch(self, key: str, value: Writable) -> None:
        """Replace a metadata value of the same size (see `gguf.patch`), after the last tensor is written."""
        self._check_complete()
        self._partial.flush()
        patch(self._partial.place, {key: value})

    def complete(self) -> Path:
        """Every tensor is written and safely on the disk; gives the place of the file until it is moved.

        Nothing that fails from here on costs the work: what is there is left to be resumed.
        """
        self._check_complete()
        self._partial.flush()
        self._partial.save()
        self._complete = True
        return self._partial.place

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._check_complete()
                self._partial.finish()
        except BaseException as failure:
            error = failure
            raise
        finally:
            if isinstance(error, KeyboardInterrupt) or self._complete:
                self._partial.keep()
            else:
                self._partial.discard()

    def _skip(self, done: int) -> None:
        """The first `done` bytes after the header are there already."""
        while done:
            info = self._waiting[-1]
            size = _padded(info.nbytes, self._alignment)
            present = min(done, info.nbytes)
            if present:
                self.resumed[info.name] = present // info.format.row_bytes(info.shape[-1])
            if done < size:
                self._written = present
                return
            self._waiting.pop()
            done -= size

    def _check_complete(self) -> None:
        missing = [info for info in reversed(self._waiting) if info.nbytes]
        if missing:
            info = missing[0]
            raise ValueError(f"{self.path}: tensor {info.name} has {self._written} of {info.nbytes} bytes")


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
