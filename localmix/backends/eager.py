"""Running a network as its equation, operation by operation: what the reference and MLX do.

Shapes: L layers · T tokens · W wanted rows · A active experts · V vocabulary.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from localmix.backends.protocol import Pause, Watch
from localmix.engine.batch import Batch
from localmix.network.blocks import Array, Operations, Router
from localmix.network.decoder import Network, forward


class Eager(Operations, Protocol):
    """Operations whose results can be fetched."""

    def to_numpy(self, x: Array) -> NDArray: ...  # float32; the one point where host and device meet


def run(o: Eager, network: Network, batch: Batch, cache: Any, watch: Watch | None, pause: Pause | None) -> NDArray:
    """One forward pass: logits (W, V) of the wanted rows."""
    if watch is None:
        return o.to_numpy(forward(o, network, batch, cache, pause))
    watched = _Watched(o)
    logits = o.to_numpy(forward(watched, network, batch, cache, pause))
    chosen = [o.to_numpy(layer) for layer in watched.chosen]  # L of (T, A)
    shape = len(network.layers), len(batch), network.active
    watch(np.array(chosen, np.int32).reshape(shape))
    return logits


class _Watched:
    """Operations that remember what the routers chose."""

    def __init__(self, o: Eager) -> None:
        self._operations = o
        self.chosen: list[Array] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operations, name)

    def choose(self, x: Array, router: Router) -> tuple[Array, Array]:
        chosen, mix = self._operations.choose(x, router)
        self.chosen.append(chosen)
        return chosen, mix
