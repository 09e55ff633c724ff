"""Rotations made ahead are those of their positions, to the last bit, whatever was asked for before."""

import ctypes

import numpy as np
import pytest
from numpy.typing import NDArray

from localmix.backends.numba.passes.turns import AHEAD, Turns
from localmix.network.blocks import Rope

SHORT = Rope(10000.0 ** (-np.arange(4) / 4), "neighbours")
LONG = Rope(1e6 ** (-np.arange(32) / 32), "halves", 1.25)


def read(turns: Turns, positions: list[int], ropes: list[Rope]) -> list[NDArray[np.float32]]:
    """What the records point to: cosines and sines (T, n), rope after rope."""
    turns.of(np.array(positions, np.int32))
    starts = iter((ctypes.c_int64 * (2 * len(ropes))).from_address(turns.rotations)) if ropes else iter(())
    out = []
    for rope in ropes:
        count = len(positions) * rope.inverse.size
        for _ in ("cos", "sin"):
            numbers = (ctypes.c_float * count).from_address(next(starts))
            out.append(np.array(numbers, np.float32).reshape(len(positions), -1))
    return out


def by_hand(positions: list[int], ropes: list[Rope]) -> list[NDArray[np.float32]]:
    return [
        np.array([(f(np.float64(p) * rope.inverse) * rope.scale).astype(np.float32) for p in positions])
        for rope in ropes
        for f in (np.cos, np.sin)
    ]


@pytest.mark.parametrize("ropes", [[], [SHORT], [SHORT, LONG]], ids=len)
def test_positions_in_any_order_alone_and_together(ropes: list[Rope]) -> None:
    turns = Turns(ropes)
    steps = [[0], [1], [AHEAD - 1], [AHEAD], [3], [5, 900, 6], [4], [100_000], [AHEAD], list(range(70))]
    for positions in steps:
        for got, expected in zip(read(turns, positions, ropes), by_hand(positions, ropes), strict=True):
            np.testing.assert_array_equal(got, expected)
