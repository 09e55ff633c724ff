"""Whether a network's experts are in memory or in a pool filled from the disk, which is decided when it is loaded.

A pool holds the experts that a router chooses from; all else that every token reads stays in memory.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from localmix.amounts import amount
from localmix.backends.protocol import Backend
from localmix.engine.weights import Weight
from localmix.errors import LocalmixError, UnsupportedError
from localmix.gguf.tensors import Extent
from localmix.network import decoder
from localmix.network.blocks import Experts, Layer, Linear
from localmix.network.decoder import Network
from localmix.stream import fit, memory, probe
from localmix.stream.pool import Pool
from localmix.stream.slots import Key, expert_bytes
from localmix.stream.table import LEAST

Parts = dict[Key, tuple[Extent, ...]]


@dataclass(frozen=True)
class Place:
    """Where experts are: in `pool`, or, if that is None, all in memory. `needs`: bytes for that, with a short context.

    `disk`: bytes a second that the pool's readers get where nothing is computed. `cache`: bytes of a short context, for
    which a pool always makes way.
    """

    needs: int
    pool: Pool | None = None
    disk: float = 0.0
    cache: int = 0


def decide(network: Network, backend: Backend, weights: int, kv: str, ram: int | None) -> Place:
    """`weights`: bytes of all tensors; `ram`: bytes that the program may take, None for what is free.

    Where nobody said how much, and neither whole nor streamed it fits, it is loaded as a whole: it will be slow.
    LocalmixError: it does not fit into `ram`. UnsupportedError: the backend cannot stream what does not.
    """
    found, kept = experts(network), backend.cache(network, network.context, kv).needs
    sizes = _sizes(network, backend, weights, kept, streamed=bool(found))
    available = _available(backend, ram)
    needs = fit.needs(sizes)
    if needs <= available:
        return Place(needs)
    own = backend.slots(network, kv) if found and backend.streams else None
    available = _available(backend, ram)  # less what making slots took
    expert = own.nbytes if own else expert_bytes(found.values()) if found else 0
    device = fit.DEVICE if own else 0
    least = fit.least(sizes) + device + LEAST * expert
    if backend.streams and found and least <= available:
        pool = Pool(found, fit.room(sizes, available) - device, fit.SPARE, own)
        return Place(needs, pool, probe.rate(pool), kept(min(fit.LEAST, network.context)))
    if ram is None:
        return Place(needs)
    said = f"it needs {amount(needs, 'B')} of memory, {amount(available, 'B')} may be used (--ram)"
    if not backend.streams:
        raise UnsupportedError(f"{said}, and the {backend.name} backend does not stream experts: use --backend numba")
    if not found:
        raise LocalmixError(f"{said}, and it has no experts to stream: choose a smaller format or model")
    raise LocalmixError(f"{said}: expected {amount(least, 'B')} at least, for what every token reads and two experts")


def _available(backend: Backend, ram: int | None) -> int:
    """Bytes for weights, keys and values, and working memory."""
    usable = fit.usable(ram, memory.here().available)
    return usable if backend.room is None else min(usable, backend.room)


def _sizes(
    network: Network, backend: Backend, weights: int, kept: Callable[[int], int], *, streamed: bool
) -> fit.Sizes:
    """What a network takes on a backend, with `weights` bytes in files."""

    def held(*every: Weight) -> int:
        return sum(backend.held(one.format.name, one.shape[0] * one.shape[1]) for one in every)

    total = weights + sum(held(one) - one.nbytes for one in decoder.matrices(network))
    chosen = sum(held(*parts) for parts in decoder.routed(network).values()) if streamed else 0
    read = sum(held(*_read(layer)) for layer in network.layers)
    tied = network.output.weight is network.token_embd
    embedding = 0 if tied or not backend.mapped else network.token_embd.nbytes  # of which a token reads one row
    return fit.Sizes(total, total - chosen - embedding, chosen, read, kept, network.context)


def experts(network: Network) -> Parts:
    """Where gate, up and down of every expert lie that a router chooses; empty: there are none, or not in a file."""
    every = decoder.routed(network)
    found = {key: tuple(p.extent for p in parts if p.extent is not None) for key, parts in every.items()}
    return found if all(len(extents) == len(every[key]) for key, extents in found.items()) else {}


def owned(network: Network) -> Network:
    """The network with every matrix that every token is multiplied with in memory of its own, which reading experts
    cannot push out. The embedding stays where it is: of it a token reads one row.
    """
    tied = network.output.weight is network.token_embd
    output = _linear(network.output)
    embedding = output.weight if tied else network.token_embd
    return replace(network, token_embd=embedding, layers=tuple(map(_layer, network.layers)), output=output)


def _read(layer: Layer) -> Iterable[Weight]:
    """Matrices of a layer's experts that one token reads."""
    m = layer.mixture
    count = m.router.active if m.router else 0
    return (*m.experts.gate[:count], *m.experts.up[:count], *m.experts.down[:count])


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
