"""A weight matrix is (format, shape, bytes): a view on the mapped file, never a copy.

Nothing here knows a backend, nor whether a file holds experts merged or one tensor each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localmix.gguf.tensors import Extent
from quant.format import Floats, Format


@dataclass(frozen=True, eq=False)
class Weight:
    """A matrix of `shape` (out, in), stored as rows of blocks: `data` has shape (out, in // format.block)."""

    name: str
    format: Format
    shape: tuple[int, int]
    data: NDArray
    extent: Extent | None = None  # where it lies in a file, if it comes from one

    def rows(self, index: slice | NDArray) -> Floats:
        """The chosen rows as float32 (n, in). The only way from blocks to numbers: a few rows at a time."""
        blocks = self.data[index]  # (n, in // block)
        return self.format.dequantize(blocks).reshape(len(blocks), self.shape[1])

    @property
    def nbytes(self) -> int:
        return self.data.nbytes


def vector(weight: NDArray, format: Format) -> Floats:
    """A small tensor (a norm, a router) as float32, read once at load."""
    return np.ascontiguousarray(format.dequantize(weight), np.float32)
