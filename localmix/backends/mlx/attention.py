"""Causal grouped-query attention of one sequence over its cache, a bounded number of scores at a time.

Shapes: t new tokens · n positions · r those there is room for · H heads · K kv heads · G = H / K · d head size.
"""

from dataclasses import dataclass

import mlx.core as mx

from localmix.backends.mlx import calls
from localmix.backends.mlx.cache import Arrays
from localmix.backends.mlx.matrix import Arithmetic

_SCORES = 1 << 25  # most scores at a time, where MLX has no kernel that never stores them: 128 MiB of float32


@dataclass(frozen=True)
class How:
    """What attention does with scores: `window` positions are seen (0: all), `sinks` (H,) are scores of nothing."""

    scale: float
    window: int = 0
    sinks: mx.array | None = None


def attend(q: mx.array, keys: Arrays, values: Arrays, n: int, how: How, arithmetic: Arithmetic) -> mx.array:
    """q (H, t, d) over the first n of keys and values (K, r, d), the last t of which are its own: (H, t, d)."""
    heads, count, _ = q.shape
    step = max(1, _SCORES // (heads * n))
    one = _plain if len(keys) == 1 else _packed
    parts = []
    for at in range(0, count, step):
        some = q[:, at : at + step]
        parts.append(one(some, keys, values, n - count + at + some.shape[1], how, arithmetic))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=1)


def _plain(q: mx.array, keys: Arrays, values: Arrays, n: int, how: How, arithmetic: Arithmetic) -> mx.array:
    wide = arithmetic.cpu or not arithmetic.half or keys[0].dtype == mx.float32
    type = mx.float32 if wide else mx.float16
    count, first = q.shape[1], 0
    mask: str | mx.array | None = "causal" if count > 1 else None
    if 0 < how.window < n:
        first = max(0, n - count + 1 - how.window)  # what the first query sees
        mask = _seen(n - count, count, how.window, first, n) if count > 1 else None
    q, k, v = (x[None].astype(type) for x in (q, keys[0][:, first:n], values[0][:, first:n]))
    sinks = None if how.sinks is None else how.sinks.astype(type)
    return arithmetic.leave(calls.attend(q, k, v, how.scale, mask, sinks)[0])


def _packed(q: mx.array, keys: Arrays, values: Arrays, n: int, how: How, arithmetic: Arithmetic) -> mx.array:
    """The same over keys and values in 8 or 4 bits, which are multiplied as they are.

    In float32, as scores may be large. All the room there is takes part, as CUDA's kernels want arrays without gaps;
    positions after a token's own get no share.
    """
    heads, count, size = q.shape
    kv_heads, room, _ = keys[0].shape
    k, v = _codes(keys, size), _codes(values, size)
    rows = (q.astype(mx.float32) * how.scale).reshape(kv_heads, -1, size)  # (K, G · t, d)
    scores = calls.multiply(rows, k).reshape(heads, count, room)
    scores = mx.where(_seen(n - count, count, how.window, 0, room), scores, -mx.inf)
    if how.sinks is not None:
        sinks = mx.broadcast_to(how.sinks.astype(mx.float32)[:, None, None], (heads, count, 1))
        scores = mx.concatenate([scores, sinks], axis=-1)
    shares = mx.softmax(scores, axis=-1)[..., :room].reshape(kv_heads, -1, room)
    return arithmetic.leave(calls.multiply(shares, v, transpose=False).reshape(heads, count, size))


def _seen(start: int, count: int, window: int, first: int, end: int) -> mx.array:
    """Which of the positions first to end (exclusive) the tokens at start and after see: (count, end - first)."""
    own, other = mx.arange(start, start + count)[:, None], mx.arange(first, end)
    seen = other <= own
    return seen & (other > own - window) if window else seen


def _codes(arrays: Arrays, size: int) -> calls.Packed:
    codes, scales, biases = arrays  # codes (K, r, d · bits / 32)
    return calls.Packed(codes, scales, biases, codes.shape[-1] * 32 // size).scaled_in(mx.float32)
