"""What is not a product with weights: norms, rotations, attention over every kind of cache, numbers beyond 16 bits."""

from collections.abc import Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx import attention, calls
from localmix.backends.mlx.attention import How
from localmix.backends.mlx.cache import STORAGES, Storage
from localmix.backends.mlx.matrix import Arithmetic
from localmix.backends.mlx.metal import trial
from localmix.backends.mlx.repack import repack
from localmix.backends.mlx.selftest.check import Check, compare
from localmix.engine.weights import Weight
from quant import FORMATS
from quant.format import Floats

_WIDTH, _HEADS, _KV_HEADS, _HEAD, _DEPTH, _ROOM = 512, 8, 2, 64, 100, 256
_COST = {"q4_0": 3e-1, "q8_0": 3e-2, "f16": 2e-3, "f32": 0.0}  # of storing keys and values
_PLAIN = How(_HEAD**-0.5)
_ANGLES = 5e-3  # of computing them in float32, at position 30,000


def checks(half: bool) -> Iterator[Check]:
    yield _norm(half)
    for halves in (False, True):
        yield _rope(half, halves)
    sinks = mx.array(np.linspace(-2, 2, _HEADS).astype(np.float32))
    for kv, storage in STORAGES.items():
        for tokens in (1, 40):
            yield _attention(kv, storage, tokens, half)
            yield _attention(kv, storage, tokens, half, replace(_PLAIN, window=30), " in a window")
            yield _attention(kv, storage, tokens, half, replace(_PLAIN, sinks=sinks), " with sinks")
    yield _large(half)


def _norm(half: bool) -> Check:
    x, scale = 100 * _numbers(5, _WIDTH), _numbers(_WIDTH)
    expected = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + np.float32(1e-5)) * scale
    return compare("norm", lambda _: calls.rms_norm(mx.array(x), mx.array(scale), 1e-5), expected, half)


def _rope(half: bool, halves: bool) -> Check:
    inverse = 1e6 ** (-np.arange(0, _HEAD, 2) / _HEAD)
    positions, x = np.array([0, 1, 900, 7, 30000], np.int32), _numbers(5, _HEADS, 1, _HEAD)
    pairs = x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2) if halves else x.reshape(*x.shape[:-1], -1, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * positions[:, None] * inverse)[:, None, None]
    expected = np.stack([turned.real, turned.imag], axis=-2 if halves else -1).reshape(x.shape)
    waves = (1 / inverse).astype(np.float32)

    def rotated(_: Arithmetic) -> mx.array:
        return calls.rope(mx.array(x), mx.array(positions), mx.array(waves), halves)

    return compare(f"rope of {'halves' if halves else 'neighbours'}", rotated, expected, half, _ANGLES)


def _attention(kv: str, storage: Storage, tokens: int, half: bool, how: How = _PLAIN, name: str = "") -> Check:
    """Of the last tokens of a sequence, in arrays that have room for more."""
    q = _numbers(_HEADS, tokens, _HEAD)
    k, v = _numbers(2, _KV_HEADS, _ROOM, _HEAD)

    def mixed(arithmetic: Arithmetic) -> mx.array:
        stored = [storage.encode(mx.array(x)) for x in (k, v)]
        return attention.attend(mx.array(q), stored[0], stored[1], _DEPTH, how, arithmetic)

    expected = _attend(q, k[:, :_DEPTH], v[:, :_DEPTH], how)
    return compare(f"attention{name} {kv} · {tokens}", mixed, expected, half, _COST[kv])


def _attend(q: NDArray, k: NDArray, v: NDArray, how: How) -> NDArray:
    """Causal, q (H, t, d) over k and v (K, n, d), the last t of which are its own."""
    k, v = (np.repeat(x, len(q) // len(x), axis=0) for x in (k, v))
    scores = np.einsum("htd,hnd->htn", q, k) * how.scale
    own, other = np.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None], np.arange(k.shape[1])
    scores[:, (other > own) | (other <= own - (how.window or k.shape[1]))] = -np.inf
    sinks = np.full(len(q), -np.inf) if how.sinks is None else np.array(how.sinks)
    shares = np.exp(scores)
    shares /= shares.sum(axis=-1, keepdims=True) + np.exp(sinks)[:, None, None]
    return np.einsum("htn,hnd->htd", shares, v)


def _large(half: bool) -> Check:
    """A product with numbers that 16 bits cannot hold, beside rows that need nothing of the kind."""
    format = FORMATS["q8_0"]
    weight = Weight("large", format, (_WIDTH, _WIDTH), trial.random_blocks("q8_0", _WIDTH, _WIDTH))
    x = 1e6 * _numbers(9, _WIDTH)
    expected = x @ weight.rows(slice(None)).T

    def product(arithmetic: Arithmetic) -> mx.array:
        small, scale = arithmetic.scaled(mx.array(x))
        return repack(weight, arithmetic).multiply(small) * scale

    return compare("numbers beyond 65504", product, expected, half)


def _numbers(*shape: int) -> Floats:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
