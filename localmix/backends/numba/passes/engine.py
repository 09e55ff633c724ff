"""Runs batches on a team: fills in the record of one pass and calls the kernels."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.machine import native
from localmix.backends.numba.passes.buffers import Buffers, slots_of
from localmix.backends.numba.passes.inputs import Inputs as BatchInputs
from localmix.backends.numba.passes.listener import Listener
from localmix.backends.numba.passes.program import Program
from localmix.backends.numba.passes.records import address_of
from localmix.backends.numba.passes.team import Team, yield_address
from localmix.backends.protocol import Inputs, Pause, Watch
from localmix.engine.batch import Batch
from localmix.engine.cache import PagedCache


class Engine:
    """One network on one team of threads. Not re-entrant."""

    def __init__(self, program: Program, team: Team, tell: Inputs | None = None) -> None:
        self._program, self._team = program, team
        self._network = program.network
        self._buffers = Buffers(program.network, team.threads, program.wide)
        self._buffers.step["yields"] = yield_address()
        self._listener = Listener(program, self._buffers, tell) if tell is not None else None
        self._forward = native.address("passes.forward.forward")
        self._embed = program.embedding()
        self._inputs = BatchInputs(self._buffers.step, program.ropes)

    def step(
        self, batch: Batch, cache: PagedCache, watch: Watch | None = None, pause: Pause | None = None
    ) -> NDArray[np.float32]:
        """Logits (W, V) of the wanted rows."""
        net, b = self._network, self._buffers
        logits = np.empty((len(batch.wanted), net.vocabulary), np.float32)
        b.grow(len(batch))
        self._inputs.fill(batch, cache)
        self._embed(batch.ids, int(b.step["x"]))
        if net.embedding_scale != 1:
            self._rows(len(batch))[:] *= np.float32(net.embedding_scale)
        b.step["network"], b.step["logits"] = self._program.bind(cache), address_of(logits)
        alone = len(batch) == 1 and self._listener is None
        b.step["alone"] = alone
        self._program.need("one" if alone else "many")
        if watch is not None:
            watch(np.stack([self._choices(layer, batch) for layer in self._layers(batch, pause)]))
        elif alone:
            self._run(0, len(net.layers))
        else:
            self._read(batch, cache, pause)
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
        x = self._rows(len(batch))
        x[: len(wanted)] = x[batch.wanted]
        self._inputs.fill(wanted, cache)
        self._run(last, last + 1)

    def _rows(self, tokens: int) -> NDArray[np.float32]:
        """The residual stream (T, D)."""
        return self._buffers.rows("x", (tokens, self._network.width), np.float32)

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
