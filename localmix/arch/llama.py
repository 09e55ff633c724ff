"""Llama, Mistral and their dense kin: y = W_down · (SiLU(W_gate x) ⊙ W_up x)."""

from dataclasses import dataclass

from localmix.arch.config import Config
from localmix.arch.tensors import Tensors
from localmix.backends import Array, Backend
from localmix.engine.weights import Weight


@dataclass(frozen=True, eq=False)
class DenseFeedForward:
    ffn_gate: Weight  # (F, D)
    ffn_up: Weight  # (F, D)
    ffn_down: Weight  # (D, F)

    def __call__(self, b: Backend, x: Array) -> Array:
        return b.swiglu(x, self.ffn_gate, self.ffn_up, self.ffn_down)  # (T, D)


def feed_forward(t: Tensors, c: Config, layer: int) -> DenseFeedForward:
    """The feed-forward part of one layer."""
    return DenseFeedForward(
        ffn_gate=t.matrix(f"blk.{layer}.ffn_gate.weight", (c.hidden, c.width)),
        ffn_up=t.matrix(f"blk.{layer}.ffn_up.weight", (c.hidden, c.width)),
        ffn_down=t.matrix(f"blk.{layer}.ffn_down.weight", (c.width, c.hidden)),
    )
