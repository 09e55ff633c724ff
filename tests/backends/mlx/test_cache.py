"""What only MLX's cache does: sharing by value, growth, a limit, few bits, and bytes on disk."""

import numpy as np
import pytest
from numpy.typing import NDArray

from localmix.engine.batch import Batch
from localmix.errors import ContextFullError, LocalmixError

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from localmix.backends.mlx.attention import How, attend  # noqa: E402
from localmix.backends.mlx.cache import STEP, STORAGES, Cache  # noqa: E402
from localmix.backends.mlx.matrix import Arithmetic  # noqa: E402
from localmix.backends.mlx.memory import Budget  # noqa: E402

KINDS = pytest.mark.parametrize("kv", STORAGES)
K, D, LAYERS = 2, 32, 3
RNG = np.random.default_rng(0)


def append(cache: Cache, sequence: int, k: NDArray, v: NDArray) -> None:
    """Keys and values (K, t, D), the same in all layers."""
    batch = Batch.of([(sequence, cache.length(sequence), [0] * k.shape[1])])
    cache.reserve(batch)
    for layer in range(LAYERS):
        mx.eval(cache.append(batch.spans[0], layer, mx.array(k), mx.array(v)))
    cache.commit(batch)


def numbers(count: int) -> NDArray:
    return RNG.standard_normal((K, count, D)).astype(np.float16)


@KINDS
def test_dump_and_restore(kv: str) -> None:
    cache = Cache(LAYERS, K, D, 600, kv)
    one, k, v = cache.new(), numbers(300), numbers(300)
    assert cache.dump(one).shape[:4] == (LAYERS, 2, K, 0)
    append(cache, one, k, v)
    saved = cache.dump(one)
    if kv[0] != "q":
        assert np.array_equal(saved[1], np.stack([k, v]))
    other = Cache(LAYERS, K, D, 600, kv)
    two = other.restore(saved)
    assert other.length(two) == 300
    for each, sequence in ((cache, one), (other, two)):
        append(each, sequence, k[:, :5], v[:, :5])
    assert np.array_equal(cache.dump(one), other.dump(two))
    for foreign in (saved[:2], saved.astype(np.float64), np.concatenate([saved] * 3, axis=3)):
        with pytest.raises(ValueError, match="expected"):
            other.restore(foreign)


def test_a_shared_prefix_costs_nothing_until_it_is_written() -> None:
    cache = Cache(LAYERS, K, D, 2000, "f16")
    one, k = cache.new(), numbers(STEP)
    append(cache, one, k, k)
    assert cache.nbytes == STEP * cache.position_bytes
    two = cache.share(one, 100)
    assert cache.nbytes == STEP * cache.position_bytes
    append(cache, two, -k[:, :1], -k[:, :1])
    assert np.array_equal(cache.dump(one)[0, 0], k)
    assert np.array_equal(cache.dump(two)[0, 0], np.concatenate([k[:, :100], -k[:, :1]], axis=1))
    cache.free(one)
    assert cache.nbytes == STEP * cache.position_bytes


@KINDS
def test_bytes_of_a_position(kv: str) -> None:
    cache = Cache(LAYERS, K, D, 2000, kv)
    one = cache.new()
    cache.fill(one, 64)
    cache.truncate(one, 10)
    append(cache, one, numbers(60), numbers(60))
    assert cache.nbytes == (64 + STEP - 64) * cache.position_bytes


def test_limits() -> None:
    caches: list[Cache] = []
    position = LAYERS * 2 * K * D * 2
    budget = Budget((STEP + 10) * position, used=lambda: sum(cache.reserved for cache in caches))
    cache = Cache(LAYERS, K, D, 2 * STEP, "f16", budget)
    caches.append(cache)
    one = cache.new()
    append(cache, one, numbers(STEP), numbers(STEP))
    for refused in (
        lambda: append(cache, one, numbers(1), numbers(1)),
        lambda: cache.fill(cache.new(), STEP),
        lambda: cache.restore(cache.dump(one)),
        lambda: cache.share(one, 1),
    ):
        with pytest.raises(
            LocalmixError, match=r"256 more tokens .* take [\d.]+ [kM]B, [\d.]+ [kM]B is left on this GPU"
        ):
            refused()
    assert cache.length(one) == STEP
    with pytest.raises(ContextFullError, match="513 tokens do not fit in a context of 512"):
        append(cache, one, numbers(STEP + 1), numbers(1))
    with pytest.raises(LocalmixError, match="'f8': expected one of f16, f32, q8_0, q4_0"):
        Cache(LAYERS, K, D, 10, "f8")
    with pytest.raises(LocalmixError, match="head size 24 is not a multiple of 32"):
        Cache(LAYERS, K, 24, 10, "q8_0")


@KINDS
@pytest.mark.parametrize("scores", [1 << 25, 100])
def test_attention(kv: str, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the definition, whole and in slices of the new tokens."""
    monkeypatch.setattr("localmix.backends.mlx.attention._SCORES", scores)
    heads, n, count = 6, 40, 7
    q = RNG.standard_normal((heads, count, D)).astype(np.float32)
    k, v = numbers(n).astype(np.float32), numbers(n).astype(np.float32)
    storage = STORAGES[kv]
    room = [np.concatenate([x, numbers(24)], axis=1) for x in (k, v)]  # what follows is of nobody's
    arrays = [storage.encode(mx.array(x)) for x in room]
    got = np.array(attend(mx.array(q), *arrays, n, How(D**-0.5), Arithmetic(half=False, cpu=True)))
    weights = np.einsum("htd,hnd->htn", q, np.repeat(k, heads // K, axis=0)) / np.sqrt(D)
    weights[:, np.arange(n) > n - count + np.arange(count)[:, None]] = -np.inf
    shares = np.exp(weights - weights.max(axis=-1, keepdims=True))
    expected = shares / shares.sum(axis=-1, keepdims=True) @ np.repeat(v, heads // K, axis=0)
    assert np.abs(got - expected).max() < {"q8_0": 0.03, "q4_0": 0.3}.get(kv, 2e-5)
