"""A weight matrix is (format, shape, bytes): a view on the mapped file, never a copy.

Experts are reached through an object, so that their arithmetic does not know whether a file holds them merged or
one tensor each, nor, later, whether they are resident or fetched. Nothing here knows a backend.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format


@dataclass(frozen=True, eq=False)
class Weight:
    """A matrix of `shape` (out, in), stored as rows of blocks: `data` has shape (out, in // format.block)."""

    name: str
    format: Format
    shape: tuple[int, int]
    data: NDArray

    def rows(self, index: slice | NDArray) -> Floats:
        """The chosen rows as float32 (n, in). The only way from blocks to numbers: a few rows at a time."""
        blocks = self.data[index]  # (n, in // block)
        return self.format.dequantize(blocks).reshape(len(blocks), self.shape[1])

    @property
    def nbytes(self) -> int:
        return self.data.nbytes


@dataclass(frozen=True, eq=False)
class Experts:
    """The E experts of one layer: gate and up are (F, D), down is (D, F)."""

    gate: tuple[Weight, ...]
    up: tuple[Weight, ...]
    down: tuple[Weight, ...]

    def __len__(self) -> int:
        return len(self.gate)


def vector(weight: NDArray, format: Format) -> Floats:
    """A small tensor (a norm, a router) as float32, read once at load."""
    return np.ascontiguousarray(format.dequantize(weight), np.float32)
