"""What of a network a pool holds, the experts that a router chooses from, and what stays in memory, all the rest."""

from dataclasses import replace

from localmix.engine.weights import Weight
from localmix.gguf.tensors import Extent
from localmix.network.blocks import Experts, Layer, Linear
from localmix.network.decoder import Network
from localmix.stream.pool import Key

Parts = dict[Key, tuple[Extent, ...]]


def experts(network: Network) -> Parts:
    """Where gate, up and down of every expert lie that a router chooses; empty: there are none, or not in a file."""
    found: Parts = {}
    for index, layer in enumerate(network.layers):
        m = layer.mixture
        if m.router is None:
            continue
        for e, parts in enumerate(zip(m.experts.gate, m.experts.up, m.experts.down, strict=True)):
            extents = tuple(part.extent for part in parts if part.extent is not None)
            if len(extents) < len(parts):
                return {}
            found[index, e] = extents
    return found


def owned(network: Network) -> Network:
    """The network with every matrix that every token is multiplied with in memory of its own, which reading experts
    cannot push out. The embedding stays where it is: of it a token reads one row.
    """
    tied = network.output.weight is network.token_embd
    output = _linear(network.output)
    embedding = output.weight if tied else network.token_embd
    return replace(network, token_embd=embedding, layers=tuple(map(_layer, network.layers)), output=output)


def owned_bytes(network: Network) -> int:
    """What `owned` takes."""
    total = network.output.weight.nbytes
    for layer in network.layers:
        a = layer.attention
        total += sum(one.weight.nbytes for one in (a.q, a.k, a.v, a.output))
        for part in _every_token(layer):
            total += sum(w.nbytes for w in (*part.gate, *part.up, *part.down))
    return total


def _every_token(layer: Layer) -> list[Experts]:
    m = layer.mixture
    return [m.experts] if m.router is None else [m.shared] if m.shared is not None else []


def _layer(layer: Layer) -> Layer:
    a, m = layer.attention, layer.mixture
    attention = replace(a, q=_linear(a.q), k=_linear(a.k), v=_linear(a.v), output=_linear(a.output))
    dense = m.router is None
    mixture = replace(
        m, experts=_experts(m.experts) if dense else m.experts, shared=None if m.shared is None else _experts(m.shared)
    )
    return replace(layer, attention=attention, mixture=mixture)


def _experts(part: Experts) -> Experts:
    gate, up, down = (tuple(map(_weight, one)) for one in (part.gate, part.up, part.down))
    return replace(part, gate=gate, up=up, down=down)


def _linear(linear: Linear) -> Linear:
    return replace(linear, weight=_weight(linear.weight))


def _weight(weight: Weight) -> Weight:
    return replace(weight, data=weight.data.copy())
