"""Groups of weights side by side: the arrangement in which the searches run.

A group shares one scale; some groups make a block. A search handles LANES groups at once, element by element,
so that the innermost loop of every kernel runs over lanes: it becomes vector instructions whatever the size of a
group, and no sum is ever reordered. A tile is LANES groups, a whole number of blocks: values (S, LANES) for
groups of S weights.
"""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats

LANES = 64
UNSEEN = np.float32(1e-6)  # beside a mean of 1


def to_tiles(rows: Floats, size: int) -> Floats:
    """Rows (R, K) cut into groups of `size`: (tiles, size, LANES). The last tile is filled with zeros."""
    groups = rows.reshape(-1, size)
    tiles = -(-len(groups) // LANES)
    out = np.zeros((tiles, size, LANES), np.float32)
    full = len(groups) // LANES
    out[:full] = groups[: full * LANES].reshape(full, LANES, size).transpose(0, 2, 1)
    if full < tiles:
        out[full, :, : len(groups) - full * LANES] = groups[full * LANES :].T
    return out


def importance_tiles(importance: Floats | None, rows: Floats, size: int) -> Floats:
    """The weight of each squared error, arranged like to_tiles(rows, size); ones without an importance (K,).

    The mean weight is 1 and none is 0, so that a group of inputs that were never seen keeps its values.
    """
    if importance is None or not importance.any():
        return np.ones((-(-rows.size // (size * LANES)), size, LANES), np.float32)
    weight = (importance / importance.mean(dtype=np.float64)).astype(np.float32) + UNSEEN
    return to_tiles(np.broadcast_to(weight, rows.shape), size)


def from_tiles(codes: NDArray, blocks: int, block: int) -> NDArray:
    """Codes (tiles, S, LANES) back in the order of the weights: (blocks, block)."""
    return codes.transpose(0, 2, 1).reshape(-1, block)[:blocks]
