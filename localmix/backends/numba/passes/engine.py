"""Runs batches on a team: fills in the record of one pass and calls the kernels."""

from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.machine import native
from localmix.backends.numba.passes.buffers import Buffers, slots_of
from localmix.backends.numba.passes.inputs import Inputs as BatchInputs
from localmix.backends.numba.passes.listener import Listener
from localmix.backends.numba.passes.program import Program
from localmix.backends.numba.passes.records import STEP, address_of, offset
from localmix.backends.numba.passes.team import Team, yield_address
from localmix.backends.protocol import Inputs, Pause, Watch
from localmix.engine.batch import FEW, Batch
from localmix.engine.cache import PagedCache

_NETWORK, _LOGITS, _ALONE = (offset(STEP, name) // 8 for name in ("network", "logits", "alone"))
_FIRST, _LAST, _FINISH, _KEYS_ONLY = (offset(STEP, name) // 8 for name in ("first", "last", "finish", "keys_only"))


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

    def __call__(
        self, batch: Batch, cache: PagedCache, watch: Watch | None = None, pause: Pause | None = None
    ) -> NDArray[np.float32]:
        """Logits (W, V) of the wanted rows."""
        logits = self._begin(batch, cache)
        if watch is None and len(batch) == len(batch.wanted) <= FEW:  # a call takes 20 µs
            self._run(0, len(self._network.layers))
        else:
            for _ in self._layers(batch, cache, watch):
                if pause is not None:
                    pause()
        return self._scaled(logits)

    def in_parts(
        self, batch: Batch, cache: PagedCache, watch: Watch | None = None
    ) -> Generator[None, None, NDArray[np.float32]]:
        """The same; whenever it yields, which is between layers, other passes may be run."""
        logits = self._begin(batch, cache)
        for _ in self._layers(batch, cache, watch):
            x = self._rows(len(batch)).copy()
            yield
            self._describe(batch, cache, logits)
            self._rows(len(batch))[:] = x
        return self._scaled(logits)

    def _begin(self, batch: Batch, cache: PagedCache) -> NDArray[np.float32]:
        """The embedding of a batch; where its logits will be."""
        net, b = self._network, self._buffers
        logits = np.empty((len(batch.wanted), net.vocabulary), np.float32)
        b.grow(len(batch))
        self._describe(batch, cache, logits)
        self._embed(batch.ids, int(b.step["x"]))
        if net.embedding_scale != 1:
            self._rows(len(batch))[:] *= np.float32(net.embedding_scale)
        return logits

    def _describe(self, batch: Batch, cache: PagedCache, logits: NDArray[np.float32]) -> None:
        """The record of a pass, but for what blocks are to be run."""
        fields, alone = self._buffers.fields, len(batch) == 1 and self._listener is None
        self._inputs.fill(batch, cache)
        fields[_NETWORK], fields[_LOGITS], fields[_ALONE] = self._program.bind(cache), address_of(logits), alone
        self._program.need("one" if alone else "many")

    def _scaled(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        scale = self._network.logit_scale
        return logits * np.float32(scale) if scale != 1 else logits

    def _layers(self, batch: Batch, cache: PagedCache, watch: Watch | None) -> Iterator[None]:
        """Layer after layer; between two, Python sees an interrupt. Of the last one the keys and values of all tokens,
        all else of those that are wanted; for who watches the choices of all, too.
        """
        last, chosen = len(self._network.layers) - 1, list[NDArray[np.int32]]()
        for layer in range(last):
            self._run(layer, layer + 1)
            if watch is not None:
                chosen.append(self._choices(layer, batch))
            yield
        spares = self._listener is None and len(batch.wanted) < len(batch)
        if watch is not None and spares:
            x = self._rows(len(batch)).copy()
            self._run(last, last + 1)
            chosen.append(self._choices(last, batch))
            self._rows(len(batch))[:] = x
        if spares:
            keys, wanted = self._program.starts[last], batch.only_wanted()
            self._blocks(keys, keys + 1, keys_only=True)
            x = self._rows(len(batch))
            x[: len(wanted)] = x[batch.wanted]
            self._inputs.fill(wanted, cache)
        self._run(last, last + 1)
        if watch is not None:
            watch(np.stack(chosen if spares else [*chosen, self._choices(last, batch)]))

    def _rows(self, tokens: int) -> NDArray[np.float32]:
        """The residual stream (T, D)."""
        return self._buffers.rows("x", (tokens, self._network.width), np.float32)

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
        fields = b.fields
        fields[_FIRST], fields[_LAST], fields[_FINISH], fields[_KEYS_ONLY] = first, last, finish, keys_only
        b.zero()
        self._team.run(self._forward, b.at)
