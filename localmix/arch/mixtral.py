"""Mixtral (arXiv:2401.04088): y = Σᵢ Softmax(Top2(x · W_g))ᵢ · SwiGLUᵢ(x). Any E, any A."""

from dataclasses import dataclass

from localmix.arch.config import Config
from localmix.arch.tensors import Tensors
from localmix.backends import Array, Backend
from localmix.engine.weights import Experts
from quant.format import Floats


@dataclass(frozen=True, eq=False)
class SparseFeedForward:
    ffn_gate_inp: Floats  # (E, D), W_g
    experts: Experts
    active: int  # A

    def __call__(self, b: Backend, x: Array) -> Array:
        chosen, mix = b.route(x, self.ffn_gate_inp, self.active)  # (T, A), (T, A)
        return b.experts(x, chosen, mix, self.experts)  # (T, D)


def feed_forward(t: Tensors, c: Config, layer: int) -> SparseFeedForward:
    """The feed-forward part of one layer, experts merged or one tensor each."""
    return SparseFeedForward(
        ffn_gate_inp=t.small(f"blk.{layer}.ffn_gate_inp.weight", (c.experts, c.width)),
        experts=Experts(
            gate=t.experts(f"blk.{layer}.ffn_gate", (c.experts, c.hidden, c.width)),
            up=t.experts(f"blk.{layer}.ffn_up", (c.experts, c.hidden, c.width)),
            down=t.experts(f"blk.{layer}.ffn_down", (c.experts, c.width, c.hidden)),
        ),
        active=c.active,
    )
