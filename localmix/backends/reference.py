"""Plain NumPy, operation by operation: the executable specification of every other backend.

Slow on purpose where speed would cost clarity. Weights are dequantized a few rows at a time, never whole.
Shapes: T tokens · D model · H heads · K kv heads · d head size · E experts · A active · F hidden · V vocabulary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.arch.decoder import Network
from localmix.backends import Step
from localmix.backends.watch import Inputs, Pause, Watch, run
from localmix.engine.batch import Batch
from localmix.engine.cache import Cache
from localmix.engine.weights import Experts, Weight
from quant.format import Floats

_CHUNK = 1 << 20  # weights dequantized at a time


class Reference:
    """The NumPy backend."""

    name = "reference"
    isa = "numpy"
    spares = False
    threads = 1

    def embed(self, weight: Weight, ids: NDArray) -> Floats:
        return weight.rows(ids)  # (T, D)

    def norm(self, x: Floats, weight: NDArray, eps: float) -> Floats:
        """Root mean square norm (arXiv:1910.07467)."""
        mean = np.mean(np.square(x), axis=-1, keepdims=True)
        return x / np.sqrt(mean + np.float32(eps)) * weight

    def linear(self, x: Floats, *weights: Weight) -> tuple[Floats, ...]:
        return tuple(self._matmul(x, weight) for weight in weights)

    def rope(self, x: Floats, positions: NDArray, inverse: NDArray) -> Floats:
        """Rotate the pairs (2i, 2i+1) of each head by position · inverse[i]: GGUF's interleaved order.

        `inverse` is (n,) float64, n <= d / 2: what lies beyond 2n is left as it is.
        """
        angle = positions[:, None] * inverse  # (T, n)
        cos = np.cos(angle).astype(np.float32)[:, None]
        sin = np.sin(angle).astype(np.float32)[:, None]  # (T, 1, n)
        n = 2 * inverse.size
        even, odd = x[..., 0:n:2], x[..., 1:n:2]
        out = x.copy()
        out[..., 0:n:2] = even * cos - odd * sin
        out[..., 1:n:2] = even * sin + odd * cos
        return out

    def attend(self, q: Floats, k: Floats, v: Floats, cache: Cache, layer: int, batch: Batch) -> Floats:
        """Append k and v (T, K, d) to the cache, then causal grouped-query attention of q (T, H, d)."""
        heads, size = q.shape[1:]
        out = np.empty((len(batch), heads * size), np.float32)
        for span in batch.spans:
            rows = slice(span.row, span.row + span.count)
            cache.write(span, layer, k[rows], v[rows])
            keys, values = cache.read(span, layer)  # (K, n, d): as stored, rounding included
            group = heads // len(keys)
            grouped = q[rows].reshape(span.count, len(keys), group, size)
            scores = np.einsum("tkgd,knd->kgtn", grouped, keys) / np.float32(np.sqrt(size))
            future = np.arange(keys.shape[1]) > span.start + np.arange(span.count)[:, None]  # (t, n)
            scores[:, :, future] = -np.inf
            mixed = np.einsum("kgtn,knd->tkgd", _softmax(scores), values)
            out[rows] = mixed.reshape(span.count, -1)
        return out

    def route(self, x: Floats, gate: NDArray, active: int) -> tuple[NDArray, Floats]:
        """Softmax over the top-A logits (arXiv:2401.04088, section 2.1). Ties go to the lower expert."""
        logits = x @ gate.T  # (T, E)
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, :active]  # (T, A)
        return chosen.astype(np.int32), _softmax(np.take_along_axis(logits, chosen, axis=1))

    def experts(self, x: Floats, chosen: NDArray, mix: Floats, experts: Experts) -> Floats:
        """y = sum over the chosen experts of mix · SwiGLU(x), tokens grouped by expert."""
        y = np.zeros_like(x)
        for e in np.unique(chosen):
            token, slot = np.nonzero(chosen == e)
            out = self.swiglu(x[token], experts.gate[e], experts.up[e], experts.down[e])
            y[token] += out * mix[token, slot][:, None]
        return y

    def swiglu(self, x: Floats, gate: Weight, up: Weight, down: Weight) -> Floats:
        """W_down · (SiLU(W_gate x) ⊙ W_up x)."""
        g, u = self.linear(x, gate, up)  # (T, F)
        with np.errstate(over="ignore"):
            hidden = g / (1 + np.exp(-g)) * u
        return self._matmul(hidden, down)

    def take(self, x: Floats, rows: NDArray) -> Floats:
        return x[rows]

    def to_numpy(self, x: Floats) -> Floats:
        return x

    def cache(self, network: Network, context: int, kv: str) -> Cache:
        c = network.config
        return Cache(c.layers, c.kv_heads, c.head_dim, context, kv)

    def decoder(self, network: Network, inputs: Inputs | None = None) -> Step:
        backend = self if inputs is None else _Listening(inputs)

        def step(batch: Batch, cache: Any, watch: Watch | None = None, pause: Pause | None = None) -> Floats:
            return run(backend, network, batch, cache, watch, pause)

        return step

    def _matmul(self, x: Floats, weight: Weight) -> Floats:
        out, width = weight.shape
        y = np.empty((len(x), out), np.float32)
        step = max(1, _CHUNK // width)
        for r in range(0, out, step):
            y[:, r : r + step] = x @ weight.rows(slice(r, r + step)).T
        return y


class _Listening(Reference):
    """Tells what is multiplied."""

    def __init__(self, tell: Inputs) -> None:
        self._tell = tell

    def _matmul(self, x: Floats, weight: Weight) -> Floats:
        self._tell((weight,), x)
        return super()._matmul(x, weight)


def _softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
