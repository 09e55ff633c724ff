"""Groups of weights side by side: the arrangement in which the searches run.

A group shares one scale; some groups make a block. A search handles LANES groups at once, element by element,
so that the innermost loop of every kernel runs over lanes: it becomes vector instructions whatever the size of a
group, and no sum is ever reordered. A tile is LANES groups, a whole number of blocks: values (S, LANES) for
groups of S weights.
"""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats
from quant.jit import kernel

LANES = 64
ZERO, ONE = np.float32(0), np.float32(1)
EMPHASIS = np.float32(0.4)
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


@kernel
def emphasize(x: Floats, w: Floats) -> None:
    """Raise the weights w of large values in a tile x: by EMPHASIS for one as large as its group's root mean square.

    A network feels an error on a large weight more than the mean square says. Measured as KL divergence on the
    bundled model, against none: Q2_K 0.058 to 0.0467, Q4_K_M 0.0047 to 0.0046 (a tie), for 1 to 7 % more mean square.
    """
    size = np.float32(x.shape[0])
    for lane in range(LANES):
        total = ZERO
        for j in range(x.shape[0]):
            total += x[j, lane] * x[j, lane]
        factor = EMPHASIS * size / total if total > ZERO else ZERO
        for j in range(x.shape[0]):
            w[j, lane] *= ONE + factor * x[j, lane] * x[j, lane]


def from_tiles(codes: NDArray, blocks: int, block: int) -> NDArray:
    """Codes (tiles, S, LANES) back in the order of the weights: (blocks, block)."""
    return codes.transpose(0, 2, 1).reshape(-1, block)[:blocks]
