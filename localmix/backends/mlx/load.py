"""The matrices of a network in MLX's memory: repacked one after another, in the order in which they are used."""

from collections.abc import Container, Iterator

import mlx.core as mx
from numpy.typing import NDArray

from localmix.backends.mlx.matrix import Arithmetic, Matrix
from localmix.backends.mlx.repack import repack
from localmix.engine.weights import Weight
from localmix.network import decoder
from localmix.network.decoder import Network, weights

Source = Weight | tuple[Weight, ...]  # a matrix, or a stack of experts


def sources(network: Network, elsewhere: Container[Weight] = ()) -> Iterator[Source]:
    """Every matrix of a network, once, but those that are elsewhere."""
    for part in dict.fromkeys(weights(network)):
        if (part[0] if isinstance(part, tuple) else part) not in elsewhere:
            yield part[0] if isinstance(part, tuple) and len(part) == 1 else part


def matrices(network: Network, elsewhere: Container[Weight] = ()) -> list[Weight]:
    """The same, every expert by itself."""
    return [one for one in decoder.matrices(network) if one not in elsewhere]


class Store:
    """What is on the device, found by what it was made from. Anything new is brought there when asked for."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self._matrices: dict[Source, Matrix] = {}
        self._vectors: dict[int, tuple[NDArray, mx.array]] = {}  # the first keeps the key, its id, its own

    def matrix(self, source: Source) -> Matrix:
        if source not in self._matrices:
            self._matrices[source] = repack(source, self._arithmetic)
        return self._matrices[source]

    def vector(self, values: NDArray) -> mx.array:
        """A small array as float32."""
        if id(values) not in self._vectors:
            array = mx.array(values, dtype=mx.float32)
            mx.eval(array)
            self._vectors[id(values)] = values, array
        return self._vectors[id(values)][1]

    @property
    def nbytes(self) -> int:
        return sum(matrix.nbytes for matrix in self._matrices.values())
