"""The numbers of a network, read from a file's metadata and checked: what would change the arithmetic and is
not implemented is refused by name, never ignored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.errors import FileFormatError, UnsupportedError

_REQUIRED = (
    "block_count", "embedding_length", "feed_forward_length", "context_length",
    "attention.head_count", "attention.layer_norm_rms_epsilon",
)  # fmt: skip
_KNOWN = {
    *_REQUIRED, "vocab_size", "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "attention.sliding_window", "expert_count", "expert_used_count", "rope.dimension_count", "rope.freq_base",
    "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
    "rope.scaling.finetuned", "tensor_data_layout",
}  # fmt: skip
_FRACTIONS = (
    "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scale_linear", "rope.scaling.factor",
)  # fmt: skip
# Keys that change nothing at these values; at any other they would.
_NEUTRAL = {
    "attention.causal": True, "use_parallel_residual": False, "attention.scale": 0.0, "logit_scale": 1.0,
    "residual_scale": 1.0, "embedding_scale": 1.0, "expert_shared_count": 0, "expert_weights_scale": 1.0,
    "expert_weights_norm": True, "rope.scaling.attn_factor": 1.0, "attention.clamp_kqv": 0.0,
    "attn_logit_softcapping": 0.0, "final_logit_softcapping": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Sizes (DESIGN: D width · H heads · K kv heads · F hidden · E experts · A active · V vocabulary)."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    eps: float
    experts: int  # 0: dense
    active: int
    rope_dims: int
    rope_base: float
    rope_scale: float  # positions are divided by this

    @property
    def products(self) -> int:
        """Multiplications with the weights of one layer for one token, the router's left out."""
        attention = 2 * self.width * (self.heads + self.kv_heads) * self.head_dim
        return attention + max(self.active, 1) * 3 * self.width * self.hidden


def read(path: str, metadata: dict[str, Any], vocabulary: int) -> Config:
    """The configuration of a file of the llama family. `vocabulary` is the number of rows of the embedding."""
    prefix = metadata["general.architecture"] + "."
    found = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    for key in _REQUIRED:
        if key not in found:
            raise FileFormatError(f"{path}: metadata key {prefix}{key} is missing: the file is incomplete")
    for key, value in found.items():
        if key not in _KNOWN and not (key in _NEUTRAL and np.array_equal(value, _NEUTRAL[key])):
            raise UnsupportedError(f"{path}: {prefix}{key} = {value!r} changes the arithmetic: not supported")

    def number(key: str, default: float | None = None) -> Any:
        value = found.get(key, default)
        values = np.unique(np.asarray(value))
        if values.size != 1 or not np.issubdtype(values.dtype, np.number):
            raise UnsupportedError(f"{path}: {prefix}{key} = {value!r}: expected one number for all layers")
        if not np.isfinite(values[0]) or values[0] < 0:
            raise FileFormatError(f"{path}: {prefix}{key} = {value!r}: expected a finite number, not negative")
        if key not in _FRACTIONS and values.dtype.kind == "f":
            raise FileFormatError(f"{path}: {prefix}{key} = {value!r}: expected a whole number")
        return values[0].item()

    heads = number("attention.head_count")
    width = number("embedding_length")
    if not heads or not width:
        raise FileFormatError(f"{path}: {heads} heads and width {width}: expected at least one of each")
    head_dim = number("attention.key_length", width // heads)
    experts = number("expert_count", 0)
    config = Config(
        layers=number("block_count"),
        width=width,
        hidden=number("feed_forward_length"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocabulary=vocabulary,
        context=number("context_length"),
        eps=number("attention.layer_norm_rms_epsilon"),
        experts=experts,
        active=number("expert_used_count", 0) if experts else 0,
        rope_dims=number("rope.dimension_count", head_dim),
        rope_base=number("rope.freq_base", 10000.0),
        rope_scale=_rope_scale(path, prefix, found, number),
    )
    _check(path, prefix, config, number("attention.value_length", head_dim), number("attention.sliding_window", 0))
    return config


def _rope_scale(path: str, prefix: str, found: dict[str, Any], number: Callable[..., Any]) -> float:
    kind = found.get("rope.scaling.type", "linear" if "rope.scale_linear" in found else "none")
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise UnsupportedError(f"{path}: {prefix}rope.scaling.type = {kind!r}: expected 'none' or 'linear'")
    factor = number("rope.scaling.factor" if "rope.scaling.factor" in found else "rope.scale_linear", 1.0)
    return float(factor) or 1.0  # some files write 0 for "not scaled"


def _check(path: str, prefix: str, c: Config, value_length: int, window: int) -> None:
    rules = [
        (c.layers > 0, f"block_count = {c.layers}", "at least 1"),
        (0 < c.context < 1 << 31, f"context_length = {c.context}", "1 to 2147483647"),
        (c.hidden > 0, f"feed_forward_length = {c.hidden}", "at least 1"),
        (c.kv_heads > 0 and c.heads % c.kv_heads == 0, f"attention.head_count_kv = {c.kv_heads}",
         f"a divisor of the {c.heads} heads"),
        (c.head_dim > 0 and c.head_dim % 2 == 0, f"attention.key_length = {c.head_dim}", "an even number"),
        (value_length == c.head_dim, f"attention.value_length = {value_length}", f"key_length, {c.head_dim}"),
        (0 < c.rope_dims <= c.head_dim and c.rope_dims % 2 == 0, f"rope.dimension_count = {c.rope_dims}",
         f"an even number up to {c.head_dim}"),
        (c.rope_base > 0, f"rope.freq_base = {c.rope_base}", "more than 0"),
        (window == 0 or window >= c.context, f"attention.sliding_window = {window}", "none: not supported"),
        (not c.experts or 1 <= c.active <= c.experts, f"expert_used_count = {c.active}", f"1 to {c.experts}"),
    ]  # fmt: skip
    for holds, what, expected in rules:
        if not holds:
            raise FileFormatError(f"{path}: {prefix}{what}: expected {expected}")


def rope_inverse(c: Config, factors: NDArray | None) -> NDArray[np.float64]:
    """Radians a position for each rotated pair; `factors` is the file's rope_freqs.weight, if it has one."""
    i = np.arange(0, c.rope_dims, 2, dtype=np.float64)
    inverse = c.rope_base ** (-i / c.rope_dims) / c.rope_scale
    return inverse if factors is None else inverse / factors
