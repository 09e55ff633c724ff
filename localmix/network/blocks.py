"""The parts that networks are made of: weights and numbers, and the equation over them, written in `Operations`.

A family says which part has which tensors and numbers (families/). The reference and MLX run the equations; Numba
fuses them, and reads the same fields. Each field's default changes nothing: whoever does not carry out another value
refuses it by name. Attribute names are the papers'.
Shapes: T tokens · W wanted rows · D model · H heads · K kv heads · d head size · E experts · A active · F hidden.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from localmix.engine.batch import Batch
from localmix.engine.weights import Weight
from quant.format import Floats

Array = Any  # the backend's own array type


@dataclass(frozen=True, eq=False)
class Place:
    """Where in a pass a layer stands: the tokens, the cache, and the layer's number in it."""

    batch: Batch
    cache: Any
    layer: int


@dataclass(frozen=True, eq=False)
class Norm:
    """x / sqrt(mean(x²) + eps) · weight (arXiv:1910.07467)."""

    weight: Floats  # (n,)
    eps: float


@dataclass(frozen=True, eq=False)
class Linear:
    """W x + b."""

    weight: Weight  # (out, in)
    bias: Floats | None = None  # (out,)


@dataclass(frozen=True, eq=False)
class Rope:
    """Rotation of pairs by position · inverse (arXiv:2104.09864); what lies beyond 2n of a head is left as it is."""

    inverse: NDArray[np.float64]  # (n,) radians a position
    pairs: Literal["neighbours", "halves"] = "neighbours"  # (2i, 2i + 1), or (i, i + n)
    scale: float = 1.0  # of what is rotated: YaRN's


@dataclass(frozen=True, eq=False)
class Router:
    """Which A of E experts serve a token, and their shares.

    p = scores of (W x + logits_bias); the A largest of p + bias are chosen, ties to the lower expert; shares are their
    p, divided by the sum of them if `normalized`, times `scale`.
    """

    gate: Floats  # (E, D)
    active: int  # A
    scores: Literal["softmax", "sigmoid"] = "softmax"
    normalized: bool = True
    bias: Floats | None = None  # (E,) counts for the choice alone
    logits_bias: Floats | None = None  # (E,)
    scale: float = 1.0


@dataclass(frozen=True)
class Activation:
    """What an expert does between its matrices, of gate g and up u.

    silu: g σ(g) u. gelu: the tanh form, GELU(g) u. clamped (gpt-oss): with g up to `limit` and u within ±`limit`,
    g σ(alpha · g) (u + 1).
    """

    kind: Literal["silu", "gelu", "clamped"] = "silu"
    alpha: float = 1.702
    limit: float = 7.0


SILU = Activation()


@dataclass(frozen=True, eq=False)
class Experts:
    """E experts of one shape: W_down · activation(W_gate x, W_up x). Of a dense network there is one."""

    gate: tuple[Weight, ...]  # (F, D) each
    up: tuple[Weight, ...]  # (F, D) each
    down: tuple[Weight, ...]  # (D, F) each
    activation: Activation = SILU
    gate_bias: Floats | None = None  # (E, F)
    up_bias: Floats | None = None  # (E, F)
    down_bias: Floats | None = None  # (E, D)

    def __len__(self) -> int:
        return len(self.gate)

    @property
    def hidden(self) -> int:
        """F."""
        return self.gate[0].shape[0]


class Operations(Protocol):
    """What equations are written in, whoever carries it out. `x` is (T, D) float32 unless said otherwise.

    Operations are coarse, so that an implementation may fuse, and take whole blocks, so that a new number reaches all.
    """

    def embed(self, weight: Weight, ids: NDArray) -> Array: ...  # (T, D)
    def norm(self, x: Array, norm: Norm) -> Array: ...  # of the last axis
    def linear(self, x: Array, *parts: Linear) -> tuple[Array, ...]: ...  # one (T, out) each
    def rotate(self, x: Array, rope: Rope, place: Place) -> Array: ...  # (T, heads, d)
    def attend(self, q: Array, k: Array, v: Array, attention: "Attention", place: Place) -> Array: ...  # (T, H·d)
    def choose(self, x: Array, router: Router) -> tuple[Array, Array]: ...  # experts and shares: (T, A), (T, A)
    def experts(self, x: Array, chosen: Array, mix: Array, experts: Experts) -> Array: ...  # (T, D)
    def every(self, x: Array, experts: Experts, gate: NDArray | None) -> Array: ...  # (T, D): see Mixture
    def take(self, x: Array, rows: NDArray) -> Array: ...  # (W, D)


@dataclass(frozen=True, eq=False)
class Attention:
    """Grouped-query attention over the cache (arXiv:2305.13245)."""

    norm: Norm
    q: Linear  # (H·d, D)
    k: Linear  # (K·d, D)
    v: Linear  # (K·d, D)
    output: Linear  # (D, H·d)
    heads: int
    kv_heads: int
    size: int  # d
    rope: Rope | None
    q_norm: Norm | None = None  # (d,): of each head; (H·d,): of the row of all heads
    k_norm: Norm | None = None
    window: int = 0  # positions that a token sees, its own included; 0: all
    sinks: Floats | None = None  # (H,) scores of nothing, which takes its share of the softmax
    scale: float | None = None  # of scores; None: 1 / sqrt(d)

    def __call__(self, o: Operations, x: Array, place: Place) -> Array:
        """softmax(Q Kᵀ · scale + mask) V · W_o."""
        q, k, v = o.linear(o.norm(x, self.norm), self.q, self.k, self.v)
        q = self._turned(o, q, self.q_norm, place)  # (T, H, d)
        k = self._turned(o, k, self.k_norm, place)  # (T, K, d)
        v = v.reshape(-1, self.kv_heads, self.size)  # (T, K, d)
        return o.linear(o.attend(q, k, v, self, place), self.output)[0]  # (T, D)

    def _turned(self, o: Operations, x: Array, norm: Norm | None, place: Place) -> Array:
        """Rows (T, heads · d) as heads (T, heads, d), normed and rotated."""
        if norm is not None and norm.weight.size != self.size:
            x = o.norm(x, norm)
        x = x.reshape(len(x), -1, self.size)
        if norm is not None and norm.weight.size == self.size:
            x = o.norm(x, norm)
        return x if self.rope is None else o.rotate(x, self.rope, place)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ over the chosen experts of share · expert(x), and what serves every token besides.

    Without a router all of the experts serve every token, each with share 1: a dense layer is a mixture of one.
    """

    norm: Norm
    experts: Experts
    router: Router | None = None
    shared: Experts | None = None  # serve every token
    shared_gate: Floats | None = None  # (D,): the share of the shared ones is σ(shared_gate · x), not 1

    def __call__(self, o: Operations, x: Array) -> Array:
        x = o.norm(x, self.norm)
        if self.router is None:
            return o.every(x, self.experts, None)
        y = o.experts(x, *o.choose(x, self.router), self.experts)  # (T, D)
        return y if self.shared is None else y + o.every(x, self.shared, self.shared_gate)


@dataclass(frozen=True, eq=False)
class Layer:
    """h = x + scale · attention(x); y = h + scale · mixture(h)."""

    attention: Attention
    mixture: Mixture
    scale: float = 1.0

    def __call__(self, o: Operations, x: Array, place: Place) -> Array:
        x = x + scaled(self.attention(o, x, place), self.scale)  # (T, D)
        return x + scaled(self.mixture(o, x), self.scale)  # (T, D)


def scaled(x: Array, scale: float) -> Array:
    """x · scale; x itself where that changes nothing."""
    return x if scale == 1 else x * scale
