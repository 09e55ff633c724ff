"""A decoder: an embedding, layers, a last norm, an output matrix; and its forward pass, which is its equation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from localmix.engine.batch import Batch
from localmix.engine.weights import Weight
from localmix.network.blocks import Array, Layer, Linear, Norm, Operations, Place, scaled


@dataclass(frozen=True, eq=False)
class Network:
    """D width · V vocabulary."""

    token_embd: Weight  # (V, D)
    layers: tuple[Layer, ...]
    output_norm: Norm  # (D,)
    output: Linear  # (V, D); the embedding again where the file ties them
    context: int  # positions that it was trained for
    embedding_scale: float = 1.0
    logit_scale: float = 1.0

    @property
    def vocabulary(self) -> int:
        return self.token_embd.shape[0]

    @property
    def width(self) -> int:
        return self.token_embd.shape[1]

    @property
    def experts(self) -> int:
        """That a router chooses from, in the layer that has most; 0: a dense network."""
        return max(len(layer.mixture.experts) if layer.mixture.router else 0 for layer in self.layers)

    @property
    def active(self) -> int:
        """Experts that a router chooses for a token, in the layer that has most; 0: a dense network."""
        return max(layer.mixture.router.active if layer.mixture.router else 0 for layer in self.layers)

    @property
    def windows(self) -> list[int]:
        """Positions that each layer sees, its own included; 0: all."""
        return [layer.attention.window for layer in self.layers]

    @property
    def products(self) -> int:
        """Multiplications with weights of one token, in the layer that has most, the router's left out."""
        return max(map(products_of, self.layers))

    @property
    def work(self) -> int:
        """The same of all layers and the output."""
        return sum(map(products_of, self.layers)) + self.vocabulary * self.width


def forward(o: Operations, net: Network, batch: Batch, cache: Any, pause: Callable[[], None] | None = None) -> Array:
    """Logits (W, V) of the wanted rows. The cache must have room for the batch; the caller commits it."""
    x = scaled(o.embed(net.token_embd, batch.ids), net.embedding_scale)  # (T, D)
    for index, layer in enumerate(net.layers):
        x = layer(o, x, Place(batch, cache, index))  # (T, D)
        if pause is not None:
            pause()
    last = o.norm(o.take(x, batch.wanted), net.output_norm)  # (W, D)
    return scaled(o.linear(last, net.output)[0], net.logit_scale)  # (W, V)


def weights(block: Any) -> Iterator[Weight | tuple[Weight, ...]]:
    """Every matrix of a block or a network, in the order of use; the experts of one role together."""
    for field in fields(block):
        value = getattr(block, field.name)
        if isinstance(value, Weight) or (isinstance(value, tuple) and value and isinstance(value[0], Weight)):
            yield value
        elif isinstance(value, tuple):
            for part in value:
                yield from weights(part)
        elif is_dataclass(value) and not isinstance(value, type):
            yield from weights(value)


def matrices(block: Any) -> Iterator[Weight]:
    """The same, an expert at a time, each once."""
    for part in dict.fromkeys(weights(block)):
        yield from part if isinstance(part, tuple) else (part,)


def routed(network: Network) -> dict[tuple[int, int], tuple[Weight, ...]]:
    """Gate, up and down of every expert that a router chooses, by its layer and its number there."""
    layers = [(index, layer.mixture.experts) for index, layer in enumerate(network.layers) if layer.mixture.router]
    return {(index, e): (m.gate[e], m.up[e], m.down[e]) for index, m in layers for e in range(len(m))}


def products_of(layer: Layer) -> int:
    """Multiplications with the weights of a layer for one token, the router's left out."""
    a, m = layer.attention, layer.mixture
    active = m.router.active if m.router else len(m.experts)
    experts = [(m.experts, active)] + ([(m.shared, len(m.shared))] if m.shared else [])
    total = sum(part.weight.shape[0] * part.weight.shape[1] for part in (a.q, a.k, a.v, a.output))
    return total + sum(3 * count * one.hidden * one.gate[0].shape[1] for one, count in experts)
