"""The decoder that Llama and Mixtral share: attention and a feed-forward part, each behind a norm, each added.

Attribute names are the GGUF tensor names. What a layer's feed-forward is, dense or sparse, is its own business.
Shapes: T tokens · D model · H heads · K kv heads · d head size · V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from localmix.arch.config import Config
from localmix.backends import Array, Backend
from localmix.engine.batch import Batch
from localmix.engine.weights import Weight
from quant.format import Floats


class FeedForward(Protocol):
    def __call__(self, b: Backend, x: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class Layer:
    attn_norm: Floats  # (D,)
    attn_q: Weight  # (H·d, D)
    attn_k: Weight  # (K·d, D)
    attn_v: Weight  # (K·d, D)
    attn_output: Weight  # (D, H·d)
    ffn_norm: Floats  # (D,)
    ffn: FeedForward


@dataclass(frozen=True, eq=False)
class Network:
    config: Config
    token_embd: Weight  # (V, D)
    layers: tuple[Layer, ...]
    output_norm: Floats  # (D,)
    output: Weight  # (V, D); the embedding again where the file ties them
    rope_inverse: NDArray[np.float64]  # (n,) radians a position


def forward(b: Backend, net: Network, batch: Batch, cache: Any, pause: Callable[[], None] | None = None) -> Array:
    """Logits (W, V) of the wanted rows. The cache must have room for the batch; the caller commits it."""
    eps = net.config.eps
    x = b.embed(net.token_embd, batch.ids)  # (T, D)
    for index, layer in enumerate(net.layers):
        x = x + attention(b, net, index, b.norm(x, layer.attn_norm, eps), batch, cache)  # (T, D)
        x = x + layer.ffn(b, b.norm(x, layer.ffn_norm, eps))  # (T, D)
        if pause is not None:
            pause()
    last = b.norm(b.take(x, batch.wanted), net.output_norm, eps)  # (W, D)
    return b.linear(last, net.output)[0]  # (W, V)


def attention(b: Backend, net: Network, index: int, x: Array, batch: Batch, cache: Any) -> Array:
    """Grouped-query attention with rotary positions, over the cache."""
    layer, c = net.layers[index], net.config
    q, k, v = b.linear(x, layer.attn_q, layer.attn_k, layer.attn_v)
    q = b.rope(q.reshape(-1, c.heads, c.head_dim), batch.positions, net.rope_inverse)  # (T, H, d)
    k = b.rope(k.reshape(-1, c.kv_heads, c.head_dim), batch.positions, net.rope_inverse)  # (T, K, d)
    v = v.reshape(-1, c.kv_heads, c.head_dim)  # (T, K, d)
    mixed = b.attend(q, k, v, cache, index, batch)  # (T, H·d)
    return b.linear(mixed, layer.attn_output)[0]  # (T, D)
