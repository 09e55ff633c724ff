"""Matrices that are read a few rows at a time: slices of files.

A checkpoint of 93 GB becomes a GGUF without any tensor ever being whole in memory. A tensor of more dimensions is a
matrix of all its rows.
"""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix.errors import FileFormatError
from localmix.gguf import Tensor
from quant import FORMATS, Format, f16
from quant.format import Floats


class Matrix(ABC):
    """Something with `rows` rows of `width` weights."""

    rows: int
    width: int

    @abstractmethod
    def origin(self, row: int) -> str:
        """The file and the tensor that a row comes from, for messages."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Floats:
        """Rows start to stop as float32 (stop - start, width)."""

    def blocks(self, start: int, stop: int, format: Format) -> NDArray | None:
        """The same rows as they are stored, if that is `format`: blocks (stop - start, n)."""
        return None

    @property
    def holds(self) -> Format | None:
        """The format of more than one weight a block that its rows are stored in, if they are."""
        return None


def numbers(blocks: NDArray, format: Format) -> Floats:
    """Blocks (R, n) as float32 rows. NumPy alone would take longer to widen halves than most formats to quantize."""
    return f16.widen(blocks) if format.name == "f16" else format.dequantize(blocks)


class OpenFile:
    """A file that several threads read from, opened on first use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def descriptor(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes. FileFormatError if the file ends before."""
        out = np.empty(count, np.uint8)
        target = out.data
        done = 0
        while done < count:
            try:
                got = os.preadv(self.descriptor, [target[done:]], offset + done)
            except OSError as error:
                raise FileFormatError(f"{self.path}: cannot be read: {error.strerror}") from None
            if not got:
                raise FileFormatError(f"{self.path}: ends at byte {offset + done}, expected {offset + count}")
            done += got
        return out

    def close(self) -> None:
        if "descriptor" in self.__dict__:
            os.close(self.__dict__.pop("descriptor"))


@dataclass(frozen=True)
class Stored(Matrix):
    """Rows as they lie in a file, in any format that can be dequantized. `name` is the tensor's in that file."""

    file: OpenFile
    name: str
    offset: int
    format: Format
    rows: int
    width: int

    def origin(self, row: int) -> str:
        return f"{self.file.path}: tensor {self.name}"

    def read(self, start: int, stop: int) -> Floats:
        stride = self.format.row_bytes(self.width)
        raw = self.file.read(self.offset + start * stride, (stop - start) * stride)
        return numbers(raw.view(self.format.dtype).reshape(stop - start, -1), self.format)

    def bytes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows of bytes as they are."""
        return self.file.read(self.offset + start * self.width, (stop - start) * self.width).reshape(-1, self.width)

    def columns(self, start: int, stop: int, first: int, last: int) -> Floats:
        """Columns first to last of rows start to stop, (stop - start, last - first). Only for blocks of one weight."""
        assert self.format.block == 1, self.format.name
        at = self.offset + start * self.format.row_bytes(self.width)
        rows = np.memmap(self.file.path, self.format.dtype, "r", at, (stop - start, self.width))
        return numbers(np.ascontiguousarray(rows[:, first:last]), self.format)


class Scaled(Matrix):
    """Stored weights times stored scales: what checkpoints of 8 bits hold."""

    def __init__(self, base: Stored, scales: Stored, expert: int, height: int, span: int) -> None:
        """Each of `scales` (experts * ceil(expert / height), ceil(width / span)) stands for `height` rows and `span`
        columns of `base`, whose experts have `expert` rows each."""
        self.base, self.scales = base, scales
        self.expert, self.height, self.span = expert, height, span
        self.rows, self.width, self.file = base.rows, base.width, base.file

    def origin(self, row: int) -> str:
        return self.base.origin(row)

    def read(self, start: int, stop: int) -> Floats:
        rows = np.arange(start, stop)
        across = -(-self.expert // self.height)  # scales that an expert has below each other
        which = rows // self.expert * across + rows % self.expert // self.height
        factors = np.repeat(self._all[which], self.span, axis=1)[:, : self.width]
        return self.base.read(start, stop) * factors

    @cached_property
    def _all(self) -> Floats:
        return self.scales.read(0, self.scales.rows)


class Nibbles(Matrix):
    """Weights of MXFP4 as OpenAI publishes them: a byte holds weights 2j and 2j + 1, GGUF's j and j + 16 of a block."""

    def __init__(self, halves: Stored, scales: Stored) -> None:
        """Bytes (rows · blocks, 16), and the powers of two (rows, blocks)."""
        self.halves, self.scales, self.format = halves, scales, FORMATS["mxfp4"]
        self.rows, self.width = scales.rows, scales.width * self.format.block
        if (halves.rows, halves.width) != (scales.rows * scales.width, self.format.block // 2):
            raise FileFormatError(
                f"{halves.origin(0)}: has {halves.rows} blocks of {halves.width} bytes, expected "
                f"{scales.rows * scales.width} of {self.format.block // 2} for its scales"
            )

    def origin(self, row: int) -> str:
        return self.halves.origin(row)

    def read(self, start: int, stop: int) -> Floats:
        return self.format.dequantize(self._blocks(start, stop))

    def blocks(self, start: int, stop: int, format: Format) -> NDArray | None:
        return self._blocks(start, stop) if format is self.format else None

    @property
    def holds(self) -> Format | None:
        return self.format

    def _blocks(self, start: int, stop: int) -> NDArray:
        across = self.scales.width
        stored = self.halves.bytes(start * across, stop * across).reshape(stop - start, across, -1)
        half = stored.shape[-1] // 2
        first, second = stored[..., :half], stored[..., half:]  # weights 0 to 15 and 16 to 31
        out = np.empty((stop - start, across), self.format.dtype)
        out["e"] = self.scales.bytes(start, stop)
        out["qs"][..., 0::2] = (first & 15) | (second & 15) << 4
        out["qs"][..., 1::2] = first >> 4 | second & 0xF0
        return out


class Held(Matrix):
    """Rows already in memory, that follow from `path`."""

    def __init__(self, values: Floats, path: Path) -> None:
        self.values, self.path = values, path
        self.rows, self.width = values.shape

    def origin(self, row: int) -> str:
        return str(self.path)

    def read(self, start: int, stop: int) -> Floats:
        return self.values[start:stop]


class Mapped(Matrix):
    """The rows of a tensor in an open GGUF file."""

    def __init__(self, tensor: Tensor, path: Path) -> None:
        self.data = tensor.data.reshape(-1, tensor.data.shape[-1])
        self.format, self.name, self.path = tensor.format, tensor.name, path
        self.rows, self.width = len(self.data), self.data.shape[1] * tensor.format.block

    def origin(self, row: int) -> str:
        return f"{self.path}: tensor {self.name}"

    def read(self, start: int, stop: int) -> Floats:
        return numbers(self.data[start:stop], self.format)

    def blocks(self, start: int, stop: int, format: Format) -> NDArray | None:
        return self.data[start:stop] if format is self.format else None

    @property
    def holds(self) -> Format | None:
        return self.format if self.format.block > 1 else None
