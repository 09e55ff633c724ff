"""The MLX backend: GPUs of Apple and NVIDIA, and any CPU for parity. Nothing is computed before logits are asked for.

Between layers, in norms and routers numbers are float32; products take 16-bit activations on a GPU (`Arithmetic`).
Shapes: T tokens · D model · H heads · K kv heads · d head size · E experts · A active · F hidden · V vocabulary.
"""

import os
from collections.abc import Mapping
from weakref import WeakSet

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.arch.decoder import Network
from localmix.backends.mlx import attention, calls, cuda, memory, probe
from localmix.backends.mlx.cache import Cache
from localmix.backends.mlx.layouts import layouts
from localmix.backends.mlx.load import Store, matrices, sources
from localmix.backends.mlx.matrix import Arithmetic
from localmix.backends.mlx.metal import choice
from localmix.backends.mlx.metal.kernels import Kernels
from localmix.backends.mlx.step import Step
from localmix.backends.watch import Inputs
from localmix.engine.batch import Batch
from localmix.engine.weights import Experts, Weight
from localmix.errors import LocalmixError
from quant.format import Floats


class MlxBackend:
    """One device. `half`: 16-bit activations; None: on a GPU. `kernels`: see `Arithmetic`; None: the device's own.

    `device`: whose memory is respected; None: the one that MLX computes on.
    """

    name = "mlx"
    spares = False
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
        self._budget, self._caches = memory.UNLIMITED, WeakSet[Cache]()
        memory.prepare(self.device)

    def embed(self, weight: Weight, ids: NDArray | mx.array) -> mx.array:
        return self._store.matrix(weight).rows(mx.array(ids))  # (T, D)

    def norm(self, x: mx.array, weight: Floats, eps: float) -> mx.array:
        return calls.rms_norm(x.astype(mx.float32), self._store.vector(weight), eps)

    def linear(self, x: mx.array, *weights: Weight) -> tuple[mx.array, ...]:
        return tuple(self._store.matrix(weight).multiply(x) for weight in weights)

    def rope(self, x: mx.array, positions: NDArray, inverse: NDArray) -> mx.array:
        """Each token is a batch of its own to MLX, with an offset: so rows may belong to any sequences."""
        offsets, wavelengths = mx.array(positions).astype(mx.int32), mx.array((1 / inverse).astype(np.float32))
        return calls.rope(x[:, :, None], offsets, wavelengths)[:, :, 0]  # of (T, heads, 1, d)

    def attend(self, q: mx.array, k: mx.array, v: mx.array, cache: Cache, layer: int, batch: Batch) -> mx.array:
        """Append k and v (T, K, d) to the cache, then attention of q (T, H, d) as stored: (T, H·d)."""
        parts = []
        for span in batch.spans:
            rows = slice(span.row, span.row + span.count)
            own = [x[rows].swapaxes(0, 1) for x in (q, k, v)]  # (heads, t, d)
            keys, values = cache.append(span, layer, own[1], own[2])
            mixed = attention.attend(own[0], keys, values, span.start + span.count, self.arithmetic)
            parts.append(mixed.swapaxes(0, 1).reshape(span.count, -1))
        return parts[0] if len(parts) == 1 else mx.concatenate(parts)

    def route(self, x: mx.array, gate: Floats, active: int) -> tuple[mx.array, mx.array]:
        """Softmax over the top-A logits. Ties go to the lower expert. Never read back to the host."""
        logits = x @ self._store.vector(gate).T  # (T, E)
        chosen = mx.argsort(-logits, axis=1)[:, :active]  # (T, A)
        return chosen, mx.softmax(mx.take_along_axis(logits, chosen, axis=1), axis=1)

    def experts(self, x: mx.array, chosen: mx.array, mix: mx.array, experts: Experts) -> mx.array:
        """y = sum over the chosen experts of mix · SwiGLU(x), pairs laid out as this device likes them."""
        gate, up, down = (self._store.matrix(part) for part in (experts.gate, experts.up, experts.down))
        pairs = self._layouts.of(chosen, len(experts))
        spread = pairs.spread(x)
        hidden = _gated(*(part.gather(spread, pairs.experts, pairs.rows) for part in (gate, up)))  # (n, m, F)
        y = self.arithmetic.bounded(hidden, lambda h: down.gather(h, pairs.experts, pairs.own))
        return (pairs.collect(y) * mix[..., None]).sum(axis=1)

    def swiglu(self, x: mx.array, gate: Weight, up: Weight, down: Weight) -> mx.array:
        """W_down · (SiLU(W_gate x) ⊙ W_up x)."""
        return self.arithmetic.bounded(_gated(*self.linear(x, gate, up)), lambda h: self.linear(h, down)[0])

    def take(self, x: mx.array, rows: NDArray) -> mx.array:
        return x[mx.array(rows)]

    def to_numpy(self, x: mx.array) -> Floats:
        return np.array(x.astype(mx.float32))

    def cache(self, network: Network, context: int, kv: str) -> Cache:
        c = network.config
        cache = Cache(c.layers, c.kv_heads, c.head_dim, context, kv, self._budget)
        self._caches.add(cache)
        return cache

    def decoder(self, network: Network, inputs: Inputs | None = None) -> Step:
        """LocalmixError: the network does not fit in the device's memory, or `inputs` are asked for."""
        if inputs is not None:
            raise LocalmixError("the mlx backend does not tell what it multiplies: use --backend numba")
        room = self.device.room
        left = None if room is None else room - mx.get_active_memory()  # what other models take
        position_bytes = self.cache(network, network.config.context, "f16").position_bytes
        memory.check(matrices(network), position_bytes, self.arithmetic, left)
        for part in sources(network):
            self._store.matrix(part)
        self._budget = memory.Budget(left, self._used)
        return Step(self, network)

    def held(self, format: str, weights: int) -> int:
        """Bytes that so many weights of a format take here."""
        return memory.bytes_of(weights, format, self.arithmetic)

    def read_rate(self) -> float | None:
        """Bytes a second that a GPU reads; None: this is a CPU, which is measured without MLX."""
        return None if self.arithmetic.cpu else probe.read_rate()

    def _used(self) -> int:
        """Bytes of weights, keys and values."""
        return self._store.nbytes + sum(cache.reserved for cache in self._caches)


def _gated(gate: mx.array, up: mx.array) -> mx.array:
    """SiLU(gate) ⊙ up, in float32."""
    g = gate.astype(mx.float32)
    return g * mx.sigmoid(g) * up
