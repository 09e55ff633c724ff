"""What the record of a pass says of its batch: rows, positions, pages of the cache. Of a token after another
only its position is new.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.passes.records import SPAN, address_of, offset
from localmix.backends.numba.passes.turns import Turns
from localmix.engine.batch import Batch
from localmix.engine.cache import PagedCache
from localmix.network.blocks import Rope

_START = offset(SPAN, "start") // 8


class Inputs:
    """Points `step`, the record, into memory of its own, which stays as it is until the next call."""

    def __init__(self, step: NDArray[np.void], ropes: Sequence[Rope]) -> None:
        self._step, self._turns = step, Turns(ropes)
        self._spans = np.zeros((0, SPAN.itemsize // 8), np.int64)
        self._alive: list[NDArray] = []
        self._known = 0, 0  # the state of the cache and the sequence of the last pass, if that was of one token
        step["rotations"] = self._turns.rotations

    def fill(self, batch: Batch, cache: PagedCache) -> None:
        """Everything but the ids."""
        one = (cache.state, batch.spans[0].sequence) if len(batch) == 1 else (0, 0)
        if one[0] and one == self._known:
            position = batch.spans[0].start
            self._spans[0, _START] = position
            self._turns.alone(position)
            return
        self._known = one
        self._turns.of(batch.positions)
        self._all(batch, cache)

    def _all(self, batch: Batch, cache: PagedCache) -> None:
        found = list[tuple[int, int, int, int]]()
        pages: list[list[int]] = [[] for _ in range(cache.pools)]  # of each pool, span after span
        for span in batch.spans:
            if batch.apart:  # a span of one token is attended as a token that is decoded
                found += [(span.row + i, span.start + i, 1, len(pages[0])) for i in range(span.count)]
            else:
                found.append((span.row, span.start, span.count, len(pages[0])))
            for own, more in zip(pages, cache.addresses(span), strict=True):
                own += more
        self._spans = np.array(found, np.int64)
        table, s = np.array(pages, np.int64), self._step
        self._alive = [table, batch.wanted]
        s["tokens"], s["span_count"], s["wanted_count"] = len(batch), len(found), len(batch.wanted)
        s["spans"], s["wanted"] = address_of(self._spans), batch.wanted.ctypes.data
        s["pages"], s["page_count"] = address_of(table), table.shape[1]
