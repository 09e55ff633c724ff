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


def group_weights(importance: Floats | None, width: int, size: int) -> Floats:
    """The weight of each squared error in the groups of a row: (width / size, size) for an importance (K,).

    The mean weight is 1 and none is 0, so that a group of inputs that were never seen keeps its values. Without an
    importance all are 1: (1, size).
    """
    if importance is None or not importance.any():
        return np.ones((1, size), np.float32)
    weight = (importance / importance.mean(dtype=np.float64)).astype(np.float32) + UNSEEN
    return weight.reshape(-1, size)


@kernel
def load_tile(groups: Floats, first: int, tile: Floats) -> None:
    """Groups (N, S) from `first` on, the first again after the last, as a tile."""
    n = groups.shape[0]
    for lane in range(LANES):
        group = groups[(first + lane) % n]
        for j in range(tile.shape[0]):
            tile[j, lane] = group[j]


@kernel
def store_tile(tile: NDArray[np.uint8], first: int, groups: NDArray[np.uint8]) -> None:
    """Codes of a tile to their groups (N, S); what lies behind the last is dropped."""
    for lane in range(min(LANES, groups.shape[0] - first)):
        group = groups[first + lane]
        for j in range(tile.shape[0]):
            group[j] = tile[j, lane]


@kernel
def same_for_all_tiles(weights: Floats) -> bool:
    """Whether every tile of these weights (n, S) is the same: tiles begin at multiples of LANES."""
    return LANES % weights.shape[0] == 0


@kernel
def emphasize(x: Floats, base: Floats, factor: Floats, w: Floats) -> None:
    """Weights w: those of `base`, raised for large values in x, by EMPHASIS for its group's root mean square.

    A network feels an error on a large weight more than the mean square says. Measured as KL divergence on the
    bundled model, against none: Q2_K 0.058 to 0.0467, Q4_K_M 0.0047 to 0.0046 (a tie), for 1 to 7 % more mean square.
    All are tiles, but `factor` (LANES,), which is for the work.
    """
    for lane in range(LANES):
        factor[lane] = ZERO
    for j in range(x.shape[0]):
        for lane in range(LANES):
            factor[lane] += x[j, lane] * x[j, lane]
    for lane in range(LANES):
        factor[lane] = EMPHASIS * np.float32(x.shape[0]) / factor[lane] if factor[lane] > ZERO else ZERO
    for j in range(x.shape[0]):
        for lane in range(LANES):
            w[j, lane] = base[j, lane] * (ONE + factor[lane] * x[j, lane] * x[j, lane])
