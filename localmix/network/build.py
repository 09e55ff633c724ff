"""Blocks from a file's tensors, under the names that all families share. What differs, a family says itself.

Letters: see numbers.Numbers.
"""

from collections.abc import Callable
from typing import Any

from localmix.engine.weights import Weight
from localmix.network.blocks import SILU, Activation, Attention, Experts, Layer, Linear, Mixture, Norm, Rope, Router
from localmix.network.decoder import Network
from localmix.network.numbers import Numbers
from localmix.network.tensors import Tensors
from quant.format import Floats


class Block:
    """The tensors of one layer: `blk.N.`."""

    def __init__(self, t: Tensors, n: Numbers, index: int) -> None:
        self.index = index
        self._t, self._n, self._prefix = t, n, f"blk.{index}."

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._t

    def first_of(self, name: str, other: str) -> str:
        """The one of two names that the file has; the first, if it has neither."""
        there = (one for one in (name, other) if one in self or f"{one}.weight" in self)
        return next(there, name)

    def norm(self, name: str, size: int | None = None) -> Norm:
        """A norm of `size` numbers, or of the width."""
        return Norm(self.small(name, (size or self._n.width,)), self._n.eps)

    def small(self, name: str, shape: tuple[int, ...], suffix: str = ".weight") -> Floats:
        return self._t.small(f"{self._prefix}{name}{suffix}", shape)

    def bias(self, name: str, shape: tuple[int, ...]) -> Floats | None:
        """If the file has one."""
        return self._t.optional(f"{self._prefix}{name}.bias", shape)

    def linear(self, name: str, rows: int, width: int) -> Linear:
        """With a bias if the file has one."""
        weight = self._t.matrix(f"{self._prefix}{name}.weight", (rows, width))
        return Linear(weight, self.bias(name, (rows,)))

    def attention(self, rope: Rope | None, output: str = "attn_output", **more: Any) -> Attention:
        """Norm, queries, keys, values and output; `more` are fields of the block."""
        n = self._n
        return Attention(
            norm=self.norm("attn_norm"),
            q=self.linear("attn_q", n.heads * n.size, n.width),
            k=self.linear("attn_k", n.kv_heads * n.size, n.width),
            v=self.linear("attn_v", n.kv_heads * n.size, n.width),
            output=self.linear(output, n.width, n.heads * n.size),
            heads=n.heads,
            kv_heads=n.kv_heads,
            size=n.size,
            rope=rope,
            **more,
        )

    def router(self, **more: Any) -> Router:
        n = self._n
        logits_bias = self.bias("ffn_gate_inp", (n.experts,))
        gate = self.small("ffn_gate_inp", (n.experts, n.width))
        return Router(gate, n.active, logits_bias=logits_bias, **more)

    def experts(self, hidden: int, activation: Activation = SILU) -> Experts:
        """The experts that the router chooses from."""
        n = self._n
        stack = self._t.experts(f"{self._prefix}ffn", n.experts, hidden, n.width)
        return Experts(
            *stack,
            activation,
            gate_bias=self.bias("ffn_gate_exps", (n.experts, hidden)),
            up_bias=self.bias("ffn_up_exps", (n.experts, hidden)),
            down_bias=self.bias("ffn_down_exps", (n.experts, n.width)),
        )

    def one(self, hidden: int, suffix: str = "", activation: Activation = SILU) -> Experts:
        """What every token passes: a dense layer, or (`suffix` "_shexp") the shared expert."""
        n = self._n

        def matrix(name: str, rows: int, width: int) -> tuple[Weight]:
            return (self._t.matrix(f"{self._prefix}ffn_{name}{suffix}.weight", (rows, width)),)

        up = hidden, n.width
        return Experts(matrix("gate", *up), matrix("up", *up), matrix("down", n.width, hidden), activation)

    def mixture(self, experts: Experts, norm: str = "ffn_norm", **more: Any) -> Mixture:
        return Mixture(self.norm(norm), experts, **more)


def decoder(n: Numbers, t: Tensors, layer: Callable[[Block], Layer], **scales: float) -> Network:
    """The network whose layers `layer` makes; `scales` are those of the embedding and the logits."""
    token_embd = t.matrix("token_embd.weight", (n.vocabulary, n.width))
    layers = tuple(layer(Block(t, n, i)) for i in range(n.layers))
    output_norm = Norm(t.small("output_norm.weight", (n.width,)), n.eps)
    tied = "output.weight" not in t
    output = token_embd if tied else t.matrix("output.weight", (n.vocabulary, n.width))
    return Network(token_embd, layers, output_norm, Linear(output), n.context, **scales)
