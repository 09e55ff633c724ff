"""What equations are written in: the operations that blocks call, whoever carries them out.

They are coarse, so that an implementation may fuse, and take whole blocks, so that a new number reaches everybody.
Shapes: T tokens · W wanted rows · D model · H heads · K kv heads · d head size · E experts · A active · V vocabulary.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from localmix.engine.batch import Batch
from localmix.engine.weights import Weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from localmix.network.blocks import Attention, Experts, Linear, Norm, Rope, Router

Array = Any  # the backend's own array type


@dataclass(frozen=True, eq=False)
class Place:
    """Where in a pass a layer stands: the tokens, the cache, and the layer's number in it."""

    batch: Batch
    cache: Any
    layer: int


class Operations(Protocol):
    """`x` is (T, D) float32 unless said otherwise. A block's field that is not carried out is refused by name."""

    def embed(self, weight: Weight, ids: "NDArray") -> Array: ...  # (T, D)
    def norm(self, x: Array, norm: "Norm") -> Array: ...  # of the last axis
    def linear(self, x: Array, *parts: "Linear") -> tuple[Array, ...]: ...  # one (T, out) each
    def rotate(self, x: Array, rope: "Rope", place: Place) -> Array: ...  # (T, heads, d)
    def attend(self, q: Array, k: Array, v: Array, attention: "Attention", place: Place) -> Array: ...  # (T, H·d)
    def choose(self, x: Array, router: "Router") -> tuple[Array, Array]: ...  # experts and shares: (T, A), (T, A)
    def experts(self, x: Array, chosen: Array, mix: Array, experts: "Experts") -> Array: ...  # (T, D)
    def every(self, x: Array, experts: "Experts", gate: "NDArray | None") -> Array: ...  # (T, D): see Mixture
    def take(self, x: Array, rows: "NDArray") -> Array: ...  # (W, D)
