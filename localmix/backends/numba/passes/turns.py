"""Cosines and sines by which the rows of a pass are rotated, made ahead while a sequence grows token by token."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.passes.records import ROTATION
from localmix.network.blocks import Rope

AHEAD = 64  # positions: NumPy takes as long for one as for dozens, and a token alone asks for one


class Turns:
    """What a network's rotations are at the positions of a batch."""

    def __init__(self, ropes: Sequence[Rope]) -> None:
        self._ropes = ropes
        self._start = 0
        self._ahead = list[NDArray[np.float32]]()  # cosines and sines (AHEAD, n) from `start` on, rope after rope

    def of(self, positions: NDArray[np.int32]) -> tuple[NDArray[np.void], list[NDArray[np.float32]]]:
        """Records ROTATION of all ropes for T positions, and the arrays they point into: keep those alive."""
        if len(positions) != 1:
            tables, first = self._made(positions), 0
        else:
            tables, first = self._near(int(positions[0]))
        rotations = np.zeros(len(self._ropes), ROTATION)
        for row, cos, sin in zip(rotations, tables[::2], tables[1::2], strict=True):
            row["cos"], row["sin"] = (part.ctypes.data + first * part.strides[0] for part in (cos, sin))
        return rotations, tables

    def _near(self, position: int) -> tuple[list[NDArray[np.float32]], int]:
        """Tables made ahead that hold the position, and its row there."""
        if not self._ahead or not self._start <= position < self._start + AHEAD:
            self._start = position
            self._ahead = self._made(np.arange(position, position + AHEAD))
        return self._ahead, position - self._start

    def _made(self, positions: NDArray) -> list[NDArray[np.float32]]:
        tables = []
        for rope in self._ropes:
            angle = positions[:, None] * rope.inverse  # (T, n)
            tables += [(f(angle) * rope.scale).astype(np.float32) for f in (np.cos, np.sin)]
        return tables
