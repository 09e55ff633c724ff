"""Runs batches of a network whose experts are in a bounded pool: each layer up to the choice of experts, then these as
they come from the disk, those first that are in memory. While one is computed the next are read.

The order in which experts are computed changes no bit: each has its own rows, which are added up at the end.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.passes.buffers import slots_of
from localmix.backends.numba.passes.engine import Engine
from localmix.backends.numba.passes.program import Program
from localmix.backends.numba.passes.team import Team
from localmix.backends.protocol import Inputs, Pause, Watch
from localmix.engine.batch import FEW, Batch
from localmix.engine.cache import PagedCache
from localmix.stream.pool import Pool
from localmix.stream.table import Held

ROUTE, GATE_UP, DOWN, ADD = 1, 2, 3, 4  # blocks of a layer, from its first, which is attention
_ALL = (0, 1, 2)  # gate, up, down
Unit = tuple[int, int]  # what `used` lists, a slot of one token or an expert of many, and the expert that serves it


class Streamed(Engine):
    """An engine whose experts are where the pool has them."""

    def __init__(self, program: Program, team: Team, pool: Pool, tell: Inputs | None = None) -> None:
        super().__init__(program, team, tell)
        self._pool = pool
        self._small = 0  # passes of few tokens, one after another
        self._next = 0  # the first block that is not computed yet
        self._lent: list[Held] = []  # experts that the next call of the kernels needs

    def __call__(
        self, batch: Batch, cache: PagedCache, watch: Watch | None = None, pause: Pause | None = None
    ) -> NDArray[np.float32]:
        """Logits (W, V) of the wanted rows. FileFormatError, LocalmixError: experts that cannot be had."""
        self._pool.check()  # of a file that was cut the embedding, which is mapped, must not be touched
        try:
            logits = super().__call__(batch, cache, watch, pause)
        finally:
            self._return()
        self._pool.check()
        return logits

    def work(self, tokens: int) -> int:
        """Bytes of activations with a pass of so many tokens: what a prompt took is kept for a while, as another may
        follow, and then given back.
        """
        self._small = self._small + 1 if tokens <= FEW else 0
        if self._small == FEW:
            self._buffers.shrink()
        self._buffers.grow(tokens)
        return self._buffers.nbytes

    def _run(self, first: int, last: int) -> None:
        finish, starts = last == len(self._network.layers), self._program.starts
        self._next = starts[first]
        for layer in range(first, last):
            if self._listener is not None:
                self._compute(starts[layer] + 1)
                self._listener.attention(layer)
            if self._program.streamed[layer]:
                self._compute(starts[layer] + GATE_UP)
                self._experts(layer)
            if self._listener is not None:
                self._compute(starts[layer + 1])
                self._listener.mixture(layer)
        if finish or self._next < starts[last]:
            self._compute(starts[last], finish)
        if finish and self._listener is not None:
            self._listener.output()

    def _compute(self, end: int, finish: bool = False) -> None:
        """All blocks up to `end` that are not computed yet."""
        self._blocks(self._next, end, finish)
        self._next = end
        self._return()

    def _experts(self, layer: int) -> None:
        """Gate, up and down of the experts chosen. Where all of them are in memory the next call computes them."""
        pool, start = self._pool, self._program.starts[layer]
        used = self._buffers.rows("used", (1, len(self._network.layers[layer].mixture.experts) + 2), np.int64)[0]
        step, shared = self._buffers.step, self._network.layers[layer].mixture.shared is not None
        alone = bool(step["alone"])
        units = self._chosen(layer) if alone else [(e, e) for e in used[1 : 1 + int(used[0])].tolist()]
        own = [slots_of(self._network.layers[layer]) - 1] if alone and shared else []  # the shared one's slot
        units.sort(key=lambda unit: not pool.has((layer, unit[1])))
        turn = layer if 2 * len(units) > len(self._network.layers[layer].mixture.experts) else None
        waiting: list[tuple[Unit, Held]] = []
        step["shared"] = shared
        try:
            while units or waiting:
                count = min(len(units), pool.room()) if waiting else max(1, min(len(units), pool.room()))
                if count:
                    keys = [(layer, e) for _, e in units[:count]]
                    waiting += zip(units[:count], pool.hold(keys, turn), strict=True)
                    del units[:count]
                ready = [one for one in waiting if one[1].here(_ALL)]
                if len(ready) == len(waiting) and not units:  # the rest of this layer, and the next up to its choice
                    self._place(ready, _ALL)
                    _list(used, [*own, *(unit for (unit, _), _ in ready)])
                    self._lent, waiting = [held for _, held in ready], []
                    self._next = start + GATE_UP
                    return
                if ready or own or step["shared"]:
                    self._place(ready, _ALL)
                    _list(used, [*own, *(unit for (unit, _), _ in ready)])
                    self._blocks(start + GATE_UP, start + ADD)
                else:
                    ready = waiting[:1]
                    self._as_it_comes(ready[0], used, start)
                own, step["shared"] = [], False
                self._forget([held for _, held in ready])
                waiting = [one for one in waiting if one not in ready]
        finally:
            self._forget([held for _, held in waiting])
        step["shared"], self._next = True, start + ADD

    def _as_it_comes(self, one: tuple[Unit, Held], used: NDArray[np.int64], start: int) -> None:
        """The expert that is to come first: its hidden state while its down is still on the way."""
        _list(used, [one[0][0]])
        self._place([one], (0, 1))
        self._blocks(start + GATE_UP, start + DOWN)
        self._place([one], (2,))
        self._blocks(start + DOWN, start + ADD)

    def _place(self, every: Sequence[tuple[Unit, Held]], roles: tuple[int, ...]) -> None:
        """Tell the records where matrices are, which may have to be waited for."""
        for (_, e), held in every:
            self._program.place(held.key[0], e, roles, self._pool.wait(held, roles))

    def _chosen(self, layer: int) -> list[Unit]:
        """The slots of the one token, and their experts."""
        router = self._network.layers[layer].mixture.router
        assert router is not None
        chosen = self._buffers.rows("chosen", (1, router.active), np.int32)[0]
        return list(enumerate(chosen.tolist()))

    def _return(self) -> None:
        lent, self._lent = self._lent, []
        self._forget(lent)

    def _forget(self, every: Sequence[Held]) -> None:
        """Give experts back; nothing points to them any more."""
        for held in every:
            self._program.place(*held.key, _ALL, (0, 0, 0))
        self._pool.release(every)


def _list(used: NDArray[np.int64], units: Sequence[int]) -> None:
    used[0] = len(units)
    used[1 : 1 + len(units)] = units
