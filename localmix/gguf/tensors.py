"""What a tensor in a GGUF file is: its name, shape and format, and, once mapped, its blocks.

Shapes are row-major, outermost dimension first. The file holds them the other way round: `header` and
`writer` reverse them, nothing else does.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from quant.format import Format


@dataclass(frozen=True)
class TensorInfo:
    """A tensor before its bytes: enough to lay out a file."""

    name: str
    shape: tuple[int, ...]
    format: Format

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Shape of the array of blocks: (*shape[:-1], shape[-1] // format.block)."""
        return (*self.shape[:-1], self.shape[-1] // self.format.block)

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, without padding."""
        return math.prod(self.block_shape) * self.format.dtype.itemsize


@dataclass(frozen=True)
class Extent:
    """`size` bytes of a file, from byte `start` on."""

    path: Path
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of an open file. `data` is a read-only view on the map: (*shape[:-1], shape[-1] // block)."""

    name: str
    shape: tuple[int, ...]
    format: Format
    data: NDArray
    extent: Extent  # where the blocks lie in the file

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self.data.nbytes

    @property
    def address(self) -> int:
        """Where the first block lies in memory. Valid while `data`, or any view of it, is alive."""
        return int(self.data.__array_interface__["data"][0])

    def extent_of(self, part: NDArray) -> Extent:
        """Where a part of the blocks, a view of `data` without gaps, lies in the file."""
        offset = int(part.__array_interface__["data"][0]) - self.address
        return Extent(self.extent.path, self.extent.start + offset, part.nbytes)
