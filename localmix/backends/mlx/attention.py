"""Causal grouped-query attention of one sequence over its cache, a bounded number of scores at a time.

Shapes: t new tokens · n positions · r those there is room for · H heads · K kv heads · G = H / K · d head size.
"""

import mlx.core as mx

from localmix.backends.mlx import calls
from localmix.backends.mlx.cache import Arrays
from localmix.backends.mlx.matrix import Arithmetic

_SCORES = 1 << 25  # most scores at a time, where MLX has no kernel that never stores them: 128 MiB of float32


def attend(q: mx.array, keys: Arrays, values: Arrays, n: int, arithmetic: Arithmetic) -> mx.array:
    """q (H, t, d) over the first n of keys and values (K, r, d), the last t of which are its own: (H, t, d)."""
    heads, count, _ = q.shape
    step = max(1, _SCORES // (heads * n))
    one = _plain if len(keys) == 1 else _packed
    parts = []
    for at in range(0, count, step):
        some = q[:, at : at + step]
        parts.append(one(some, keys, values, n - count + at + some.shape[1], arithmetic))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=1)


def _plain(q: mx.array, keys: Arrays, values: Arrays, n: int, arithmetic: Arithmetic) -> mx.array:
    wide = arithmetic.cpu or not arithmetic.half or keys[0].dtype == mx.float32
    type = mx.float32 if wide else mx.float16
    q, k, v = (x[None].astype(type) for x in (q, keys[0][:, :n], values[0][:, :n]))
    return arithmetic.leave(calls.attend(q, k, v, "causal" if q.shape[2] > 1 else None)[0])


def _packed(q: mx.array, keys: Arrays, values: Arrays, n: int, arithmetic: Arithmetic) -> mx.array:
    """The same over keys and values in 8 bits, which are multiplied as they are.

    In float32, as scores may be large. All the room there is takes part, as CUDA's kernels want arrays without gaps;
    positions after a token's own get no share.
    """
    heads, count, size = q.shape
    kv_heads, room, _ = keys[0].shape
    k, v = _codes(keys, size), _codes(values, size)
    rows = (q.astype(mx.float32) * size**-0.5).reshape(kv_heads, -1, size)  # (K, G · t, d)
    scores = calls.multiply(rows, k).reshape(kv_heads, -1, count, room)
    future = mx.arange(room) > mx.arange(n - count, n)[:, None]  # (t, r)
    shares = mx.softmax(mx.where(future, -mx.inf, scores), axis=-1).reshape(kv_heads, -1, room)
    return arithmetic.leave(calls.multiply(shares, v, transpose=False).reshape(heads, count, size))


def _codes(arrays: Arrays, size: int) -> calls.Packed:
    codes, scales, biases = arrays  # codes (K, r, d · bits / 32)
    return calls.Packed(codes, scales, biases, codes.shape[-1] * 32 // size).scaled_in(mx.float32)
