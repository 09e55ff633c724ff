"""Runs batches on a team: fills in the record of one pass and calls the kernels."""

import ctypes
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.machine import native
from localmix.backends.numba.passes.buffers import Buffers, slots_of
from localmix.backends.numba.passes.listener import Listener
from localmix.backends.numba.passes.program import Program
from localmix.backends.numba.passes.records import SPAN
from localmix.backends.numba.passes.team import Team, yield_address
from localmix.backends.numba.passes.turns import Turns
from localmix.backends.protocol import Inputs, Pause, Watch
from localmix.engine.batch import Batch
from localmix.engine.cache import PagedCache

EMBEDDINGS = 4096  # rows kept as floats: a text repeats its tokens


class Engine:
    """One network on one team of threads. Not re-entrant."""

    def __init__(self, program: Program, team: Team, tell: Inputs | None = None) -> None:
        self._program, self._team = program, team
        self._network = program.network
        self._buffers = Buffers(program.network, team.threads, program.wide)
        self._buffers.step["yields"] = yield_address()
        self._listener = Listener(program, self._buffers, tell) if tell is not None else None
        self._forward = native.address("passes.forward.forward")
        self._embeddings: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._unpack = program.unpack()
        self._turns = Turns(program.ropes)

    def step(
        self, batch: Batch, cache: PagedCache, watch: Watch | None = None, pause: Pause | None = None
    ) -> NDArray[np.float32]:
        """Logits (W, V) of the wanted rows."""
        net, b = self._network, self._buffers
        logits = np.empty((len(batch.wanted), net.vocabulary), np.float32)
        b.grow(len(batch))
        inputs = self._inputs(batch, cache)  # kept alive until the pass is over
        self._embed(batch.ids)
        b.step["network"], b.step["logits"] = self._program.bind(cache), logits.ctypes.data
        alone = len(batch) == 1 and self._listener is None
        b.step["alone"] = alone
        self._program.need("one" if alone else "many")
        if watch is not None:
            watch(np.stack([self._choices(layer, batch) for layer in self._layers(batch, pause)]))
        elif alone:
            self._run(0, len(net.layers))
        else:
            self._read(batch, cache, pause)
        del inputs
        return logits * np.float32(net.logit_scale) if net.logit_scale != 1 else logits

    def _read(self, batch: Batch, cache: PagedCache, pause: Pause | None) -> None:
        """Layer after layer; of the last one the keys and values of all tokens, all else of those that are wanted."""
        last = len(self._network.layers) - 1
        if self._listener is not None or len(batch.wanted) == len(batch):
            for _ in self._layers(batch, pause):
                pass
            return
        for _ in self._layers(batch, pause, last):
            pass
        wanted = batch.only_wanted()
        keys = self._program.starts[last]
        self._blocks(keys, keys + 1, keys_only=True)
        x = self._buffers.rows("x", (len(batch), self._network.width), np.float32)
        x[: len(wanted)] = x[batch.wanted]
        inputs = self._inputs(wanted, cache)
        self._run(last, last + 1)
        del inputs

    def _layers(self, batch: Batch, pause: Pause | None, count: int | None = None) -> Iterator[int]:
        """The first `count` layers, each once it is computed: between two, Python sees an interrupt, calls `pause`.

        Of many tokens each layer is a call of its own also because a thread that comes late reads which experts are
        used, which must not be the next layer's.
        """
        for layer in range(len(self._network.layers) if count is None else count):
            self._run(layer, layer + 1)
            yield layer
            if pause is not None:
                pause()

    def _choices(self, layer: int, batch: Batch) -> NDArray[np.int32]:
        """The experts (T, A) that the layer just computed chose."""
        router, slots = self._network.layers[layer].mixture.router, slots_of(self._network.layers[layer])
        chosen = self._buffers.rows("chosen", (len(batch), slots), np.int32)
        return chosen[:, : router.active if router else 0].copy()

    def _run(self, first: int, last: int) -> None:
        """Layers first to last (exclusive), and the output after the last of all. A listener hears of each block."""
        finish, starts = last == len(self._network.layers), self._program.starts
        if self._listener is None:
            self._blocks(starts[first], starts[last], finish)
            return
        for layer in range(first, last):
            self._blocks(starts[layer], starts[layer] + 1)
            self._listener.attention(layer)
            self._blocks(starts[layer] + 1, starts[layer + 1])
            self._listener.mixture(layer)
        if finish:
            self._blocks(starts[last], starts[last], finish=True)
            self._listener.output()

    def _blocks(self, first: int, last: int, finish: bool = False, keys_only: bool = False) -> None:
        """Blocks first to last (exclusive), then the output if `finish`; or only the first's keys and values."""
        b = self._buffers
        b.step["first"], b.step["last"], b.step["finish"], b.step["keys_only"] = first, last, finish, keys_only
        b.counters[:] = 0
        self._team.run(self._forward, b.step.ctypes.data)

    def _inputs(self, batch: Batch, cache: PagedCache) -> list[NDArray]:
        """Rotations, spans and pages of a batch: what the record points to."""
        s = self._buffers.step
        rotations, turned = self._turns.of(batch.positions)
        found = list[tuple[int, int, int, int]]()
        pages: list[list[int]] = [[] for _ in range(cache.pools)]  # of each pool, span after span
        for span in batch.spans:
            if batch.apart:  # a span of one token is attended as a token that is decoded
                found += [(span.row + i, span.start + i, 1, len(pages[0])) for i in range(span.count)]
            else:
                found.append((span.row, span.start, span.count, len(pages[0])))
            for own, more in zip(pages, cache.addresses(span), strict=True):
                own += more
        spans = np.array(found, SPAN)
        table = np.array(pages, np.int64)
        s["tokens"], s["span_count"], s["wanted_count"] = len(batch), len(spans), len(batch.wanted)
        s["rotations"], s["spans"] = rotations.ctypes.data, spans.ctypes.data
        s["pages"], s["page_count"], s["wanted"] = table.ctypes.data, table.shape[1], batch.wanted.ctypes.data
        return [*turned, rotations, spans, table, batch.wanted]

    def _embed(self, ids: NDArray[np.int32]) -> None:
        """Rows of the embedding into x."""
        x, size = int(self._buffers.step["x"]), 4 * self._network.width
        for t, token in enumerate(ids.tolist()):
            row = self._embeddings.get(token)
            if row is None:
                row = self._unpack(token)
                self._embeddings[token] = row
                if len(self._embeddings) > EMBEDDINGS:
                    self._embeddings.popitem(last=False)
            ctypes.memmove(x + t * size, row.ctypes.data, size)
