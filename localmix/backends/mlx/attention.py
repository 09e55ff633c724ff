"""Causal grouped-query attention of one sequence over its cache, a bounded number of scores at a time.

Shapes: t new tokens · n positions · H heads · K kv heads · G = H / K · d head size.
"""

import mlx.core as mx

from localmix.backends.mlx.cache import Arrays, Storage
from localmix.backends.mlx.forms import GROUP
from localmix.backends.mlx.matrix import Arithmetic

_SCORES = 1 << 25  # most scores at a time, where MLX has no kernel that never stores them: 128 MiB of float32


def attend(q: mx.array, keys: Arrays, values: Arrays, storage: Storage, arithmetic: Arithmetic) -> mx.array:
    """q (H, t, d) over keys and values (K, n, d), the last t of which are its own: (H, t, d)."""
    heads, count, _ = q.shape
    n = keys[0].shape[1]
    step = max(1, _SCORES // (heads * n))
    one = _plain if storage.bits is None else _packed
    parts = []
    for at in range(0, count, step):
        end = n - count + min(at + step, count)
        seen = tuple(a[:, :end] for a in keys), tuple(a[:, :end] for a in values)
        parts.append(one(q[:, at : at + step], *seen, storage, arithmetic))
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=1)


def _plain(q: mx.array, keys: Arrays, values: Arrays, storage: Storage, arithmetic: Arithmetic) -> mx.array:
    wide = arithmetic.cpu or not arithmetic.half or storage.dtype == mx.float32
    type = mx.float32 if wide else mx.float16
    q, k, v = (x[None].astype(type) for x in (q, keys[0], values[0]))
    mask = "causal" if q.shape[2] > 1 else None
    mixed = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)
    return arithmetic.leave(mixed[0])


def _packed(q: mx.array, keys: Arrays, values: Arrays, storage: Storage, arithmetic: Arithmetic) -> mx.array:
    """The same over keys and values in 8 bits, which are multiplied as they are."""
    heads, count, size = q.shape
    kv_heads, n, _ = keys[0].shape
    rows = arithmetic.enter(q * size**-0.5).reshape(kv_heads, -1, size)  # (K, G · t, d)
    scores = _product(rows, keys, storage).astype(mx.float32)
    scores = scores.reshape(kv_heads, -1, count, n)
    future = mx.arange(n) > mx.arange(n - count, n)[:, None]  # (t, n)
    shares = mx.softmax(mx.where(future, -mx.inf, scores), axis=-1)
    shares = arithmetic.enter(shares).reshape(kv_heads, -1, n)
    mixed = _product(shares, values, storage, transpose=False)
    return arithmetic.leave(mixed.reshape(heads, count, size))


def _product(x: mx.array, packed: Arrays, storage: Storage, transpose: bool = True) -> mx.array:
    codes, scales, biases = packed
    return mx.quantized_matmul(x, codes, scales, biases, transpose, GROUP, storage.bits)
