"""A network on the device: one forward pass is one graph, built first and then evaluated at once.

Asked for ids, it queues the next pass before this id is read: the device never waits for the host. A long pass, of a
prompt, is queued layer by layer: it can be interrupted, and what it needs beside the weights is that of two layers.
"""

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from numpy.typing import NDArray

from localmix.answer.sampling import Sampler
from localmix.backends.eager import Eager, run
from localmix.backends.mlx.cache import Cache
from localmix.backends.mlx.choose import Choice, Chooser
from localmix.backends.protocol import Pause, Watch
from localmix.engine.batch import Batch
from localmix.engine.cache import check_room
from localmix.network.decoder import Network, forward
from quant.format import Floats

_LONG = 64  # tokens of a pass that is queued layer by layer


class Step:
    """Runs batches of one network."""

    def __init__(self, backend: Eager, network: Network) -> None:
        self._backend, self._network = backend, network
        self._lock = threading.Lock()  # one thread at a time builds and queues

    def __call__(self, batch: Batch, cache: Cache, watch: Watch | None = None, pause: Pause | None = None) -> NDArray:
        """Logits (W, V) float32 of the wanted rows."""
        with self._lock:
            if len(batch) >= _LONG:
                pause = _Layers(batch, cache, pause)
            return run(self._backend, self._network, batch, cache, watch, pause)

    def choices(self, cache: Cache, sequence: int, ids: list[int], logits: Floats, sampler: Sampler) -> Iterator[int]:
        """Ids that follow `ids`, which are those in the cache; each joins them when the next one is asked for.

        `logits` (V,) are those after `ids`. A pass that was queued for nothing is never committed.
        """
        chooser = Chooser(sampler, ids)
        choice = chooser(mx.array(logits))
        while True:
            batch = Batch.of([(sequence, len(ids), [0])])
            following = self._queue(batch, cache, choice, chooser) if len(ids) < cache.context else None
            id = choice.read()
            yield id
            check_room(len(ids) + 1, cache.context)
            cache.commit(batch)
            ids.append(id)
            assert following is not None
            choice = following

    def _queue(self, batch: Batch, cache: Cache, choice: Choice, chooser: Chooser) -> Choice:
        """The choice after `choice`: the device begins to compute it, also if `choice` is not known yet."""
        with self._lock:
            cache.reserve(batch)
            on_device: Any = choice.id
            logits = self._logits(dataclasses.replace(batch, ids=on_device), cache)
            following = chooser(logits[0].astype(mx.float32))
            mx.async_eval(*following)
        return following

    def _logits(self, batch: Batch, cache: Cache) -> mx.array:
        return forward(self._backend, self._network, batch, cache)


class _Layers:
    """Called between the layers of a pass: queues each, waits for the one before, and then calls `pause`."""

    def __init__(self, batch: Batch, cache: Cache, pause: Pause | None) -> None:
        self._batch, self._cache, self._pause = batch, cache, pause
        self._layer, self._before = 0, list[mx.array]()

    def __call__(self) -> None:
        stored = self._cache.stored(self._batch, self._layer)  # what makes keys and values is all before them
        mx.async_eval(stored)
        mx.eval(self._before)
        self._layer, self._before = self._layer + 1, stored
        if self._pause is not None:
            self._pause()
