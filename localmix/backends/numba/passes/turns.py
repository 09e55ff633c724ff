"""Cosines and sines by which the rows of a pass are rotated, made ahead while a sequence grows token by token."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.passes.records import ROTATION, address_of
from localmix.network.blocks import Rope

AHEAD = 64  # positions: NumPy takes as long for one as for dozens, and a token alone asks for one


class Turns:
    """What a network's rotations are at the positions of a batch. `rotations`: the records ROTATION of all ropes, which
    point to what was asked for last.
    """

    def __init__(self, ropes: Sequence[Rope]) -> None:
        self._ropes = ropes
        self._memory = np.zeros((len(ropes), ROTATION.itemsize // 8), np.int64)
        self.rotations = self._memory.ctypes.data
        self._start = -AHEAD
        self._ahead = list[tuple[NDArray[np.float32], NDArray[np.float32]]]()  # (AHEAD, n) from `start` on, for a token
        self._rows = list[tuple[int, int, int]]()  # of each rope, where these begin and how long a row is
        self._alive = self._ahead  # what the records point into

    def of(self, positions: NDArray[np.int32]) -> None:
        """Point to the cosines and sines (T, n) of T positions."""
        if len(positions) == 1:
            self.alone(int(positions[0]))
            return
        self._alive = self._made(positions)
        for row, (cos, sin) in zip(self._memory, self._alive, strict=True):
            row[:] = address_of(cos), address_of(sin)

    def alone(self, position: int) -> None:
        """Point to those of one position."""
        if not self._start <= position < self._start + AHEAD:
            self._start, self._ahead = position, self._made(np.arange(position, position + AHEAD))
            self._rows = [(address_of(cos), address_of(sin), cos.strides[0]) for cos, sin in self._ahead]
        first = position - self._start
        for i, (cos, sin, size) in enumerate(self._rows):
            self._memory[i, 0], self._memory[i, 1] = cos + first * size, sin + first * size

    def _made(self, positions: NDArray) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        tables = []
        for rope in self._ropes:
            angle = positions[:, None] * rope.inverse  # (T, n)
            cos, sin = ((f(angle) * rope.scale).astype(np.float32) for f in (np.cos, np.sin))
            tables.append((cos, sin))
        return tables
