"""One forward pass of a network on the device: its graph is built, then evaluated at once."""

import mlx.core as mx
from numpy.typing import NDArray

from localmix.arch.decoder import Network, forward
from localmix.backends import Backend
from localmix.backends.mlx.cache import Cache
from localmix.batch import Batch


class Step:
    """Runs batches of one network."""

    def __init__(self, backend: Backend, network: Network) -> None:
        self._backend, self._network = backend, network

    def __call__(self, batch: Batch, cache: Cache) -> NDArray:
        """Logits (W, V) float32 of the wanted rows."""
        return self._backend.to_numpy(self.logits(batch, cache))

    def logits(self, batch: Batch, cache: Cache) -> mx.array:
        """The same, not yet computed."""
        return forward(self._backend, self._network, batch, cache)
