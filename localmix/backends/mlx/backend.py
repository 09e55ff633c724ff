"""The MLX backend: GPUs of Apple and NVIDIA, and any CPU for parity. Nothing is computed before logits are asked for.

Between layers, in norms and routers numbers are float32; products take 16-bit activations on a GPU (`Arithmetic`).
Shapes: T tokens · D model · H heads · K kv heads · d head size · E experts · A active · F hidden · V vocabulary.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from weakref import WeakSet

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx import attention, calls, cuda, memory, probe
from localmix.backends.mlx.cache import Cache
from localmix.backends.mlx.layouts import layouts
from localmix.backends.mlx.load import Store, matrices, sources
from localmix.backends.mlx.matrix import Arithmetic, Matrix
from localmix.backends.mlx.metal import choice
from localmix.backends.mlx.metal.kernels import Kernels
from localmix.backends.mlx.pairs import Pairs
from localmix.backends.mlx.slots import DeviceSlots
from localmix.backends.mlx.step import Step
from localmix.backends.mlx.streamed import StreamedStep
from localmix.backends.protocol import Inputs, refuse_pool
from localmix.engine.weights import Weight
from localmix.errors import LocalmixError
from localmix.network.blocks import Activation, Attention, Experts, Linear, Norm, Place, Rope, Router, scaled
from localmix.network.decoder import Network, routed
from localmix.stream.pool import Pool
from localmix.stream.table import LEAST
from quant import FORMATS
from quant.format import Floats


class MlxBackend:
    """One device. `half`: 16-bit activations; None: on a GPU. `kernels`: see `Arithmetic`; None: the device's own.

    `device`: whose memory is respected; None: the one that MLX computes on.
    """

    name = "mlx"
    spares = False
    mapped = False
    threads = 1  # of the host; MLX has its own

    def __init__(
        self,
        half: bool | None = None,
        kernels: Mapping[str, Kernels] | None = None,
        device: memory.Device | None = None,
    ) -> None:
        os.environ.setdefault("MLX_ENABLE_TF32", "0")  # what is in 32 bits, as routers are, is multiplied in 32
        cuda.prepare()
        cpu = mx.default_device() == mx.cpu
        chosen = choice.kernels() if kernels is None else kernels
        self.arithmetic = Arithmetic(half=not cpu if half is None else half, cpu=cpu, kernels=chosen)
        straight = f", straight from {' '.join(chosen)}" if chosen else ""
        self.device = device or memory.here()
        self.isa = f"{self.device.text}, {16 if self.arithmetic.half else 32}-bit{straight}"
        self._store, self._layouts = Store(self.arithmetic), layouts()
        self._fused = dict[Activation, Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]]()
        self._budget, self._caches = memory.UNLIMITED, WeakSet[Cache]()
        self._slots = WeakSet[DeviceSlots]()
        memory.prepare(self.device)

    def embed(self, weight: Weight, ids: NDArray | mx.array) -> mx.array:
        return self._store.matrix(weight).rows(mx.array(ids))  # (T, D)

    def norm(self, x: mx.array, norm: Norm) -> mx.array:
        return calls.rms_norm(x.astype(mx.float32), self._store.vector(norm.weight), norm.eps)

    def linear(self, x: mx.array, *parts: Linear) -> tuple[mx.array, ...]:
        x = self.arithmetic.enter(x)  # once for all
        return tuple(self._added(self._store.matrix(part.weight).multiply(x), part.bias) for part in parts)

    def rotate(self, x: mx.array, rope: Rope, place: Place) -> mx.array:
        """Each token is a batch of its own to MLX, with an offset: so rows may belong to any sequences."""
        offsets = mx.array(place.batch.positions).astype(mx.int32)
        wavelengths = mx.array((1 / rope.inverse).astype(np.float32))
        turned = calls.rope(x[:, :, None], offsets, wavelengths, rope.pairs == "halves")[:, :, 0]  # of (T, heads, 1, d)
        if rope.scale == 1:
            return turned
        rotated = mx.arange(x.shape[-1]) < 2 * rope.inverse.size
        return turned * mx.where(rotated, rope.scale, 1.0).astype(turned.dtype)

    def attend(self, q: mx.array, k: mx.array, v: mx.array, a: Attention, place: Place) -> mx.array:
        """Append k and v (T, K, d) to the cache, then attention of q (T, H, d) as stored: (T, H·d)."""
        scale = a.size**-0.5 if a.scale is None else a.scale
        how = attention.How(scale, a.window, None if a.sinks is None else self._store.vector(a.sinks))
        parts = []
        for span in place.batch.spans:
            rows = slice(span.row, span.row + span.count)
            own = [x[rows].swapaxes(0, 1) for x in (q, k, v)]  # (heads, t, d)
            keys, values = place.cache.append(span, place.layer, own[1], own[2])
            n = span.start + span.count - place.cache.first(span.sequence, place.layer)
            mixed = attention.attend(own[0], keys, values, n, how, self.arithmetic)
            parts.append(mixed.swapaxes(0, 1).reshape(span.count, -1))
        return parts[0] if len(parts) == 1 else mx.concatenate(parts)

    def choose(self, x: mx.array, router: Router) -> tuple[mx.array, mx.array]:
        """Ties go to the lower expert. Never read back to the host."""
        logits = self._added(x @ self._store.vector(router.gate).T, router.logits_bias)  # (T, E)
        p = mx.sigmoid(logits) if router.scores == "sigmoid" else mx.softmax(logits, axis=1)
        best = logits if router.bias is None else self._added(p, router.bias)
        chosen = mx.argsort(-best, axis=1)[:, : router.active]  # (T, A)
        if router.scores == "softmax" and router.normalized:
            shares = mx.softmax(mx.take_along_axis(logits, chosen, axis=1), axis=1)
        else:
            shares = mx.take_along_axis(p, chosen, axis=1)
            shares = shares / shares.sum(axis=1, keepdims=True) if router.normalized else shares
        return chosen, scaled(shares, router.scale)

    def experts(self, x: mx.array, chosen: mx.array, mix: mx.array, experts: Experts) -> mx.array:
        """The weighted sum over the chosen ones, pairs laid out as this device likes them."""
        pairs = self._layouts.of(chosen, len(experts))
        stacks = [self._store.matrix(part) for part in (experts.gate, experts.up, experts.down)]
        y = self._products(self.arithmetic.enter(x), pairs, stacks, experts, pairs.experts)
        return (pairs.collect(y) * mix[..., None]).sum(axis=1)

    def one_of(
        self, x: mx.array, tokens: NDArray, pairs: int, parts: Sequence[Matrix], experts: Experts, e: int
    ) -> mx.array:
        """What expert `e`, whose matrices are `parts`, makes of some tokens (n,) of x, which was entered: (n, D).

        `pairs`: how many there are in all, of which these are a part.
        """
        own = self._layouts.of_one(tokens, pairs)
        return self._products(x, own, parts, experts, mx.full(own.experts.shape, e, mx.uint32))[:, 0]

    def _products(
        self, x: mx.array, pairs: Pairs, stacks: Sequence[Matrix], experts: Experts, ids: mx.array
    ) -> mx.array:
        """Parts (n, m, D), of the matrices that `pairs` tells, with the biases of the experts `ids` (n,)."""
        gate, up, down = stacks
        spread, biased = pairs.spread(x), partial(self._biased, ids)
        g = biased(gate.gather(spread, pairs.experts, pairs.rows), experts.gate_bias)  # (n, m, F)
        u = biased(up.gather(spread, pairs.experts, pairs.rows), experts.up_bias)
        hidden, scale = self._hidden(g, u, experts.activation)
        return biased(down.gather(hidden, pairs.experts, pairs.own) * scale, experts.down_bias)

    def every(self, x: mx.array, experts: Experts, gate: Floats | None) -> mx.array:
        y = self._expert(x, experts, 0)
        for e in range(1, len(experts)):
            y = y + self._expert(x, experts, e)
        return y if gate is None else y * mx.sigmoid(x @ self._store.vector(gate))[:, None]

    def _expert(self, x: mx.array, experts: Experts, e: int) -> mx.array:
        g, u = self.linear(x, Linear(experts.gate[e]), Linear(experts.up[e]))
        g, u = self._added(g, experts.gate_bias, e), self._added(u, experts.up_bias, e)
        hidden, scale = self._hidden(g, u, experts.activation)
        return self._added(self._store.matrix(experts.down[e]).multiply(hidden) * scale, experts.down_bias, e)

    def _hidden(self, g: mx.array, u: mx.array, activation: Activation) -> tuple[mx.array, mx.array]:
        """What the last matrix is multiplied with, and what its results are; see `Arithmetic.scaled`.

        On a GPU compiled: three kernels instead of ten. On a CPU that would take a compiler of the machine's.
        """
        if activation not in self._fused:

            def hidden(g: mx.array, u: mx.array) -> tuple[mx.array, mx.array]:
                return self.arithmetic.scaled(_activated(g, u, activation))

            self._fused[activation] = hidden if self.arithmetic.cpu else mx.compile(hidden, shapeless=True)
        return self._fused[activation](g, u)

    def _added(self, x: mx.array, bias: Floats | None, expert: int | None = None) -> mx.array:
        """x with a bias (N,), or with that of an expert (E, N)."""
        if bias is None:
            return x
        return x + (self._store.vector(bias) if expert is None else self._store.vector(bias)[expert])

    def _biased(self, experts: mx.array, x: mx.array, biases: Floats | None) -> mx.array:
        """Parts x (n, m, N), each with its expert's bias, of (E, N)."""
        return x if biases is None else x + self._store.vector(biases)[experts][:, None]

    def take(self, x: mx.array, rows: NDArray) -> mx.array:
        return x[mx.array(rows)]

    def to_numpy(self, x: mx.array) -> Floats:
        return np.array(x.astype(mx.float32))

    def cache(self, network: Network, context: int, kv: str) -> Cache:
        a = network.layers[0].attention
        cache = Cache(len(network.layers), a.kv_heads, a.size, context, kv, self._budget, network.windows)
        self._caches.add(cache)
        return cache

    def repeats(self, network: Network) -> bool:
        return False  # its products of one row and of several are different kernels

    @property
    def streams(self) -> bool:
        return not self.device.own

    @property
    def room(self) -> int | None:
        """Bytes that are left for weights, keys and values in memory that the device shares; None: nobody says."""
        if self.device.own or self.device.room is None:
            return None
        return max(0, self.device.room - mx.get_active_memory())

    def slots(self, network: Network, kv: str = "f16") -> DeviceSlots:
        slots = DeviceSlots(routed(network), self.arithmetic)
        self._slots.add(slots)
        return slots

    def decoder(self, network: Network, inputs: Inputs | None = None, pool: Pool | None = None) -> Step | StreamedStep:
        """LocalmixError: the network does not fit in the device's memory, or `inputs` are asked for, or a `pool` of a
        GPU with memory of its own.
        """
        if not self.streams:
            refuse_pool(self.name, pool)
        if inputs is not None:
            raise LocalmixError("the mlx backend does not expose what it multiplies: use --backend numba")
        room = self.device.room
        others = mx.get_active_memory() - sum(slots.used for slots in self._slots)  # what other models take
        left = None if room is None else room - others
        kept = self.cache(network, network.context, "f16").needs
        pooled = frozenset[Weight]() if pool is None else frozenset(chain(*routed(network).values()))
        memory.check(matrices(network, pooled), kept, self.arithmetic, left)
        for part in sources(network, pooled):
            self._store.matrix(part)
        if pool is not None:
            mx.set_cache_limit(memory.KEPT_BESIDE_POOL)
        self._budget = memory.Budget(left, partial(self._used, pool))
        return Step(self, network) if pool is None else StreamedStep(self, network, pool)

    def held(self, format: str, weights: int) -> int:
        """Bytes that so many weights of a format take here."""
        return memory.bytes_of(weights, format, self.arithmetic)

    def repack_rate(self, format: str) -> float:
        """Bytes of a file a second that become what MLX holds."""
        return probe.repack_rate(FORMATS[format], self.arithmetic)

    def read_rate(self) -> float | None:
        """Bytes a second that a GPU reads; None: this is a CPU, which is measured without MLX."""
        return None if self.arithmetic.cpu else probe.read_rate()

    def _used(self, pool: Pool | None) -> int:
        """Bytes of weights, keys and values; of a pool those that it never gives up for these."""
        streamed = 0 if pool is None else LEAST * pool.expert_bytes
        return streamed + self._store.nbytes + sum(cache.reserved for cache in self._caches)


def _activated(gate: mx.array, up: mx.array, activation: Activation) -> mx.array:
    """See `Activation`; in float32."""
    g = gate.astype(mx.float32)
    if activation.kind == "gelu":
        return g * mx.sigmoid(1.5957691216057308 * g * (1 + 0.044715 * g * g)) * up
    if activation.kind == "clamped":
        g, u = mx.minimum(g, activation.limit), mx.clip(up, -activation.limit, activation.limit)
        return g * mx.sigmoid(activation.alpha * g) * (u + 1)
    return g * mx.sigmoid(g) * up
