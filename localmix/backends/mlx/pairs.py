"""Pairs of a token and an expert, laid out for products with a stack of matrices. Nothing is read on the host.

Which layout is fastest is the device's affair (`layouts`): Metal's kernel of sorted rows reads a matrix once for all
rows in a run of one expert. CUDA's takes one matrix a tile of at least 16 rows: rows that come singly leave it nearly
empty, 18 to 28 times slower than a product of equal size (ml-explore/mlx#4339), so there tiles are filled with rows
of one expert each.
Shapes: T tokens · A active · N = T · A pairs · E experts · n parts of m rows that share a matrix.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pairs:
    """A layout. Rows beyond those of pairs are padding: whatever they hold is never looked at."""

    active: int  # A
    experts: mx.array  # (n,) uint32, of each part
    rows: mx.array | None  # (n,): which token each part is; None: `spread` copies tokens into place
    places: mx.array | None  # (N,): where the row of each pair is; None: in order
    sources: mx.array | None = None  # (n · m,): the token of each row
    tile: int = 1  # m

    def spread(self, x: mx.array) -> mx.array:
        """Tokens (T, K) as what `rows` count: (T, 1, K), or in place (n, m, K)."""
        if self.sources is None:
            return x[:, None]
        return x[self.sources].reshape(-1, self.tile, x.shape[1])

    @property
    def own(self) -> mx.array | None:
        """As `rows`, of results: each part is itself."""
        return None if self.rows is None else mx.arange(self.experts.size, dtype=mx.uint32)

    def collect(self, y: mx.array) -> mx.array:
        """Results (n, m, D) as (T, A, D)."""
        y = y.reshape(-1, y.shape[-1])
        return (y if self.places is None else y[self.places]).reshape(-1, self.active, y.shape[-1])


def single(chosen: mx.array) -> Pairs:
    """Every pair by itself, in the order of tokens: for few. `chosen` (T, A)."""
    ids, active = _ids(chosen)
    return Pairs(active, ids, mx.arange(ids.size, dtype=mx.uint32) // active, None)


def in_order(chosen: mx.array) -> Pairs:
    """Every pair by itself, in the order of experts."""
    ids, active = _ids(chosen)
    order = mx.argsort(ids)
    return Pairs(active, ids[order], None, mx.argsort(order), order // active)


def of_one(tokens: NDArray, *, in_order: bool) -> Pairs:
    """Every pair by itself, of one expert, the first of its stack. `tokens` (n,)."""
    ids, rows = mx.zeros(len(tokens), mx.uint32), mx.array(tokens.astype(np.uint32))
    return Pairs(1, ids, None, None, rows) if in_order else Pairs(1, ids, rows, None)


def in_tiles(chosen: mx.array, experts: int, tile: int) -> Pairs:
    """Parts of `tile` rows of one expert, as many as there may have to be: an expert's last one is not full."""
    ids, active = _ids(chosen)
    count = min(ids.size, (ids.size + experts * (tile - 1)) // tile)
    order = mx.argsort(ids)
    sizes = (ids[:, None] == mx.arange(experts, dtype=mx.uint32)).sum(axis=0)  # (E,) pairs
    tiles = (sizes + (tile - 1)) // tile
    ends = mx.cumsum(tiles)
    run = mx.arange(ids.size) - (mx.cumsum(sizes) - sizes)[ids[order]]  # how many of its expert come before
    slots = (ends - tiles)[ids[order]] * tile + run  # (N,) in the order of experts
    places = mx.zeros(ids.size, mx.int32)
    places[order] = slots
    sources = mx.zeros(count * tile, mx.uint32)
    sources[slots] = order // active
    owners = (mx.arange(count)[:, None] >= ends).sum(axis=1)  # of tiles that nobody needs: E
    return Pairs(active, mx.minimum(owners, experts - 1).astype(mx.uint32), None, places, sources, tile)


def _ids(chosen: mx.array) -> tuple[mx.array, int]:
    return chosen.reshape(-1).astype(mx.uint32), chosen.shape[1]
