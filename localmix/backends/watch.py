"""Watching a network compute: the experts it chooses, and what its matrices are multiplied with.

A pass that is watched computes the same numbers; nothing is kept of one that is not.
Shapes: L layers · T tokens · A active experts.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from localmix.arch.decoder import Network, forward
from localmix.engine.batch import Batch
from localmix.engine.weights import Weight

if TYPE_CHECKING:
    from localmix.backends import Array, Backend

# Called after a pass with the experts (L, T, A) int32 that each layer chose for each token of the batch, the one of
# most weight first. A is 0 for a network without experts.
Watch = Callable[[NDArray[np.int32]], None]

# Called between the layers of a pass: what it raises ends the pass, which then leaves no trace.
Pause = Callable[[], None]

# Called in a pass with matrices and the rows (n, width) float32 that all of them are multiplied with, which are only
# lent. An expert's rows are those of the tokens that chose it.
Inputs = Callable[[Sequence[Weight], NDArray[np.float32]], None]


def run(
    backend: "Backend", network: Network, batch: Batch, cache: Any, watch: Watch | None, pause: Pause | None
) -> NDArray:
    """One forward pass: logits (W, V) of the wanted rows."""
    if watch is None:
        return backend.to_numpy(forward(backend, network, batch, cache, pause))
    watched = _Watched(backend)
    logits = backend.to_numpy(forward(watched, network, batch, cache, pause))
    chosen = [backend.to_numpy(layer) for layer in watched.chosen]  # L of (T, A)
    shape = network.config.layers, len(batch), network.config.active
    watch(np.array(chosen, np.int32).reshape(shape))
    return logits


class _Watched:
    """A backend that remembers what its router chose."""

    def __init__(self, backend: "Backend") -> None:
        self._backend = backend
        self.chosen: list[Array] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def route(self, x: "Array", gate: NDArray, active: int) -> tuple["Array", "Array"]:
        chosen, mix = self._backend.route(x, gate, active)
        self.chosen.append(chosen)
        return chosen, mix
