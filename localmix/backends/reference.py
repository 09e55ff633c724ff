"""Plain NumPy, operation by operation: the executable specification of every other backend.

Slow on purpose where speed would cost clarity. Weights are dequantized a few rows at a time, never whole.
Shapes: T tokens · D model · H heads · K kv heads · d head size · E experts · A active · F hidden · V vocabulary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.backends.eager import run
from localmix.backends.protocol import Inputs, Pause, Step, Watch, as_stored, refuse_pool
from localmix.engine.batch import Batch
from localmix.engine.cache import PagedCache
from localmix.engine.weights import Weight
from localmix.network.blocks import Activation, Attention, Experts, Linear, Norm, Place, Rope, Router
from localmix.network.decoder import Network
from localmix.network.rope import turned
from localmix.stream.pool import Pool
from quant.format import Floats

_CHUNK = 1 << 20  # weights dequantized at a time


class Reference:
    """The NumPy backend."""

    name = "reference"
    isa = "numpy"
    mapped = True
    spares = False
    streams = False
    room = None
    threads = 1

    def embed(self, weight: Weight, ids: NDArray) -> Floats:
        return weight.rows(ids)  # (T, D)

    def norm(self, x: Floats, norm: Norm) -> Floats:
        mean = np.mean(np.square(x), axis=-1, keepdims=True)
        return x / np.sqrt(mean + np.float32(norm.eps)) * norm.weight

    def linear(self, x: Floats, *parts: Linear) -> tuple[Floats, ...]:
        return tuple(_added(self._matmul(x, part.weight), part.bias) for part in parts)

    def rotate(self, x: Floats, rope: Rope, place: Place) -> Floats:
        angle = place.batch.positions[:, None] * rope.inverse  # (T, n)
        return turned(x, rope, angle[:, None], rope.scale)

    def attend(self, q: Floats, k: Floats, v: Floats, attention: Attention, place: Place) -> Floats:
        """Append k and v (T, K, d) to the cache, then causal grouped-query attention of q (T, H, d)."""
        batch, cache = place.batch, place.cache
        heads, size = q.shape[1:]
        out = np.empty((len(batch), heads * size), np.float32)
        for span in batch.spans:
            rows = slice(span.row, span.row + span.count)
            cache.write(span, place.layer, k[rows], v[rows])
            keys, values = cache.read(span, place.layer)  # (K, n, d): as stored, rounding included
            group = heads // len(keys)
            grouped = q[rows].reshape(span.count, len(keys), group, size)
            scores = np.einsum("tkgd,knd->kgtn", grouped, keys)
            scores = scores / np.float32(np.sqrt(size)) if attention.scale is None else scores * attention.scale
            position = span.start + np.arange(span.count)[:, None]  # (t, 1)
            other = np.arange(keys.shape[1])  # (n,)
            unseen = other > position  # (t, n)
            if attention.window:
                unseen |= other <= position - attention.window
            scores[:, :, unseen] = -np.inf
            shares = _softmax(scores, None if attention.sinks is None else attention.sinks.reshape(-1, group, 1, 1))
            mixed = np.einsum("kgtn,knd->tkgd", shares, values)
            out[rows] = mixed.reshape(span.count, -1)
        return out

    def choose(self, x: Floats, router: Router) -> tuple[NDArray, Floats]:
        """Shares come from the logits of the chosen where that is the same: nothing is lost to rounding."""
        logits = _added(x @ router.gate.T, router.logits_bias)  # (T, E)
        p = _sigmoid(logits) if router.scores == "sigmoid" else _softmax(logits)
        best = logits if router.bias is None else p + router.bias
        chosen = np.argsort(-best, axis=1, kind="stable")[:, : router.active]  # (T, A)
        if router.scores == "sigmoid":
            shares = np.take_along_axis(p, chosen, axis=1)
            shares = shares / shares.sum(axis=1, keepdims=True) if router.normalized else shares
        elif router.normalized:
            shares = _softmax(np.take_along_axis(logits, chosen, axis=1))
        else:
            shares = np.take_along_axis(p, chosen, axis=1)
        return chosen.astype(np.int32), shares if router.scale == 1 else shares * np.float32(router.scale)

    def experts(self, x: Floats, chosen: NDArray, mix: Floats, experts: Experts) -> Floats:
        """The weighted sum over the chosen ones, tokens grouped by expert."""
        y = np.zeros_like(x)
        for e in np.unique(chosen):
            token, slot = np.nonzero(chosen == e)
            y[token] += self._expert(x[token], experts, e) * mix[token, slot][:, None]
        return y

    def every(self, x: Floats, experts: Experts, gate: NDArray | None) -> Floats:
        y = self._expert(x, experts, 0)
        for e in range(1, len(experts)):
            y = y + self._expert(x, experts, e)
        return y if gate is None else y * _sigmoid(x @ gate)[:, None]

    def _expert(self, x: Floats, experts: Experts, e: int) -> Floats:
        biases = [None if b is None else b[e] for b in (experts.gate_bias, experts.up_bias, experts.down_bias)]
        g, u = (_added(self._matmul(x, one[e]), b) for one, b in zip((experts.gate, experts.up), biases, strict=False))
        return _added(self._matmul(_activated(g, u, experts.activation), experts.down[e]), biases[2])

    def take(self, x: Floats, rows: NDArray) -> Floats:
        return x[rows]

    def to_numpy(self, x: Floats) -> Floats:
        return x

    def cache(self, network: Network, context: int, kv: str) -> PagedCache:
        a = network.layers[0].attention
        return PagedCache(len(network.layers), a.kv_heads, a.size, context, kv, network.windows)

    def held(self, format: str, weights: int) -> int:
        return as_stored(format, weights)

    def slots(self, network: Network, kv: str = "f16") -> None:
        return None

    def repeats(self, network: Network) -> bool:
        return False  # products of matrices add in an order that depends on their sizes

    def decoder(self, network: Network, inputs: Inputs | None = None, pool: Pool | None = None) -> Step:
        refuse_pool(self.name, pool)
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


def _added(x: Floats, bias: NDArray | None) -> Floats:
    return x if bias is None else x + bias


def _activated(g: Floats, u: Floats, activation: Activation) -> Floats:
    if activation.kind == "gelu":
        return g * _sigmoid(np.float32(2 * np.sqrt(2 / np.pi)) * (g + np.float32(0.044715) * g**3)) * u
    if activation.kind == "clamped":
        alpha, limit = np.float32(activation.alpha), np.float32(activation.limit)
        g, u = np.minimum(g, limit), np.clip(u, -limit, limit)
        return g * _sigmoid(alpha * g) * (u + 1)
    with np.errstate(over="ignore"):
        return g / (1 + np.exp(-g)) * u


def _sigmoid(x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-x))


def _softmax(x: Floats, sinks: Floats | None = None) -> Floats:
    """Over the last axis; a sink takes a share of its own, which nothing gets."""
    top = x.max(axis=-1, keepdims=True)
    if sinks is None:
        e = np.exp(x - top)
        return e / e.sum(axis=-1, keepdims=True)
    top = np.maximum(top, sinks)
    e = np.exp(x - top)
    return e / (e.sum(axis=-1, keepdims=True) + np.exp(sinks - top))
