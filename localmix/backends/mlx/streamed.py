"""A network whose experts are in a pool: each layer up to the choice of experts, which the host then reads; these as
they come from the disk, those first that are in memory. While some are computed the next are read.

Every expert has its own rows, which are put in order and added up at the end: on a CPU to the bits of the resident
network. A GPU may choose other kernels for an expert's rows alone than for those of all.
Shapes: T tokens · D model · A active · N = T · A pairs of a token and an expert · n pairs of one expert.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.eager import Eager, run
from localmix.backends.mlx.cache import Cache
from localmix.backends.mlx.matrix import Arithmetic, Matrix
from localmix.backends.protocol import Pause, Watch
from localmix.engine.batch import Batch
from localmix.network.blocks import Experts
from localmix.network.decoder import Network
from localmix.stream.pool import Pool
from localmix.stream.table import Held

_ALL = (0, 1, 2)  # gate, up, down


class Single(Eager, Protocol):
    """Operations that compute one expert by itself."""

    arithmetic: Arithmetic

    def one_of(
        self, x: mx.array, tokens: NDArray, pairs: int, parts: Sequence[Matrix], experts: Experts, e: int
    ) -> mx.array: ...  # (n, D)


class StreamedStep:
    """Runs batches of one network. Nothing is queued ahead: which experts are wanted is known on the host alone."""

    def __init__(self, backend: Single, network: Network, pool: Pool) -> None:
        self._operations, self._network, self._pool = _Operations(backend, network, pool), network, pool
        self._lock = threading.Lock()

    def __call__(self, batch: Batch, cache: Cache, watch: Watch | None = None, pause: Pause | None = None) -> NDArray:
        """Logits (W, V) float32 of the wanted rows. FileFormatError, LocalmixError: experts that cannot be had."""
        with self._lock:
            self._pool.check()
            logits = run(self._operations, self._network, batch, cache, watch, pause)
            self._pool.check()
            return logits


class _Operations:
    """Those of a backend, with experts where the pool has them."""

    def __init__(self, backend: Single, network: Network, pool: Pool) -> None:
        self._backend, self._pool = backend, pool
        self._layers = {layer.mixture.experts: index for index, layer in enumerate(network.layers)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def experts(self, x: mx.array, chosen: mx.array, mix: mx.array, experts: Experts) -> mx.array:
        """The weighted sum over the chosen ones; nothing that reads a slot is left to be computed."""
        count, active = chosen.shape
        ids = np.array(chosen).reshape(-1)  # (N,): waits for all before
        x = self._backend.arithmetic.enter(x)
        order, parts = list[NDArray](), list[mx.array]()
        for ready in self._arriving(self._layers[experts], np.unique(ids).tolist(), len(experts)):
            computed = []
            for held in ready:
                pairs = np.flatnonzero(ids == held.key[1])
                order.append(pairs)
                computed.append(
                    self._backend.one_of(x, pairs // active, ids.size, held.places, experts, held.key[1])  # (n, D)
                )
            mx.eval(computed)
            parts += computed
        places = mx.array(np.argsort(np.concatenate(order)))
        y = mx.concatenate(parts)[places].reshape(count, active, -1)  # (T, A, D)
        return (y * mix[..., None]).sum(axis=1)

    def _arriving(self, layer: int, wanted: Sequence[int], of: int) -> Iterator[list[Held]]:
        """The experts of a layer that are wanted, some at a time, each once, as they come; in turns if there are more
        than the pool has slots. Each is given back when the next ones are asked for.
        """
        pool, turn = self._pool, layer if 2 * len(wanted) > of else None
        units = sorted(((layer, e) for e in wanted), key=lambda key: not pool.has(key))
        waiting: list[Held] = []
        try:
            while units or waiting:
                count = min(len(units), pool.room()) if waiting else max(1, min(len(units), pool.room()))
                if count:
                    waiting += pool.hold(units[:count], turn)
                    del units[:count]
                ready = [held for held in waiting if held.here(_ALL)] or waiting[:1]
                for held in ready:
                    pool.wait(held, _ALL)
                yield ready
                waiting = [held for held in waiting if held not in ready]
                pool.release(ready)
        finally:
            pool.release(waiting)
