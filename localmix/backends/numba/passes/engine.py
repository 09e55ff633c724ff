"""Runs batches on a team: fills in the record of one pass and calls the kernels."""

import ctypes
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.machine import native
from localmix.backends.numba.passes.buffers import Buffers
from localmix.backends.numba.passes.layout import SPAN
from localmix.backends.numba.passes.listener import Listener
from localmix.backends.numba.passes.program import Program
from localmix.backends.numba.passes.team import Team, yield_address
from localmix.backends.watch import Inputs, Pause, Watch
from localmix.engine.batch import Batch
from localmix.engine.cache import Cache

EMBEDDINGS = 4096  # rows kept as floats: a text repeats its tokens


class Engine:
    """One network on one team of threads. Not re-entrant."""

    def __init__(self, program: Program, team: Team, tell: Inputs | None = None) -> None:
        self._program, self._team = program, team
        self._config = program.network.config
        self._buffers = Buffers(self._config, team.threads, program.wide)
        self._buffers.step["yields"] = yield_address()
        self._listener = Listener(program, self._buffers, tell) if tell is not None else None
        self._decode = native.address("passes.decode.decode")
        self._embeddings: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._unpack = program.unpack()

    def step(
        self, batch: Batch, cache: Cache, watch: Watch | None = None, pause: Pause | None = None
    ) -> NDArray[np.float32]:
        """Logits (W, V) of the wanted rows."""
        c, b = self._config, self._buffers
        logits = np.empty((len(batch.wanted), c.vocabulary), np.float32)
        b.grow(len(batch))
        inputs = self._inputs(batch, cache)  # kept alive until the pass is over
        self._embed(batch.ids)
        b.step["network"], b.step["logits"] = self._program.bind(cache), logits.ctypes.data
        alone = len(batch) == 1 and self._listener is None
        kernel = self._decode if alone else self._prompt
        if watch is not None:
            watch(np.stack([self._choices(batch) for _ in self._layers(kernel, batch, pause, c.layers)]))
        elif alone:
            self._run(kernel, 0, c.layers)
        else:
            self._read(kernel, batch, cache, pause)
        del inputs
        return logits

    def _read(self, kernel: int, batch: Batch, cache: Cache, pause: Pause | None) -> None:
        """Layer after layer; of the last one the keys and values of all tokens, all else of those that are wanted."""
        last = self._config.layers - 1
        if self._listener is not None or len(batch.wanted) == len(batch):
            for _ in self._layers(kernel, batch, pause, last + 1):
                pass
            return
        for _ in self._layers(kernel, batch, pause, last):
            pass
        wanted = batch.only_wanted()
        self._run(kernel, last, last + 1, finish=False, keys_only=True)
        x = self._buffers.rows("x", (len(batch), self._config.width), np.float32)
        x[: len(wanted)] = x[batch.wanted]
        inputs = self._inputs(wanted, cache)
        self._run(kernel, last, last + 1)
        del inputs

    @property
    def _prompt(self) -> int:
        self._program.need_tiles()
        return native.address("passes.prompt.prompt")

    def _layers(self, kernel: int, batch: Batch, pause: Pause | None, count: int) -> Iterator[int]:
        """The first `count` layers, each once it is computed: between two, Python sees an interrupt, calls `pause`."""
        last, listener = self._config.layers - 1, self._listener
        for layer in range(count):
            if listener is not None:
                listener.before(layer, len(batch))
            self._run(kernel, layer, layer + 1, finish=layer == last and listener is None)
            if listener is not None:
                listener.after(layer, len(batch))
            yield layer
            if pause is not None:
                pause()
        if listener is not None:  # not in one call with the last layer: its buffers are written again
            listener.end(batch.wanted, len(batch))
            self._run(kernel, last + 1, last + 1)

    def _choices(self, batch: Batch) -> NDArray[np.int32]:
        """The experts (T, A) that the layer just computed chose."""
        return self._buffers.rows("chosen", (len(batch), self._config.active), np.int32).copy()

    def _run(self, kernel: int, first: int, last: int, finish: bool = True, keys_only: bool = False) -> None:
        """Layers first to last (exclusive), then the output if `finish`; or only the first's keys and values."""
        b = self._buffers
        b.step["first"], b.step["last"], b.step["finish"], b.step["keys_only"] = first, last, finish, keys_only
        b.counters[:] = 0
        self._team.run(kernel, b.step.ctypes.data)

    def _inputs(self, batch: Batch, cache: Cache) -> list[NDArray]:
        """Rotations, spans and pages of a batch: what the record points to."""
        s, inverse = self._buffers.step, self._program.network.rope_inverse
        angle = batch.positions[:, None] * inverse  # (T, n)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        spans = np.zeros(len(batch.spans), SPAN)
        pages: list[int] = []
        for row, span in zip(spans, batch.spans, strict=True):
            row["row"], row["start"], row["count"], row["page"] = span.row, span.start, span.count, len(pages)
            pages += [page.ctypes.data for page in cache.table(span)]
        table = np.array(pages, np.int64)
        s["tokens"], s["span_count"], s["wanted_count"] = len(batch), len(spans), len(batch.wanted)
        s["cos"], s["sin"], s["spans"] = cos.ctypes.data, sin.ctypes.data, spans.ctypes.data
        s["pages"], s["wanted"] = table.ctypes.data, batch.wanted.ctypes.data
        return [cos, sin, spans, table, batch.wanted]

    def _embed(self, ids: NDArray[np.int32]) -> None:
        """Rows of the embedding into x."""
        x, size = int(self._buffers.step["x"]), 4 * self._config.width
        for t, token in enumerate(ids.tolist()):
            row = self._embeddings.get(token)
            if row is None:
                row = self._unpack(token)
                self._embeddings[token] = row
                if len(self._embeddings) > EMBEDDINGS:
                    self._embeddings.popitem(last=False)
            ctypes.memmove(x + t * size, row.ctypes.data, size)
