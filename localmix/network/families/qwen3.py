"""Qwen3 (arXiv:2505.09388), dense: queries and keys are normed, a head at a time, before they are rotated."""

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.layout import Layout
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "halves")
    no_window(k, n)

    def layer(b: Block) -> Layer:
        attention = b.attention(rotation, q_norm=b.norm("attn_q_norm", n.size), k_norm=b.norm("attn_k_norm", n.size))
        return Layer(attention, b.mixture(b.one(n.hidden)))

    return decoder(n, t, layer)


HUGGING_FACE = {
    "qwen3": Layout(
        "qwen3",
        layout.NUMBERS,
        layout.ATTENTION | layout.HEAD_NORMS | layout.DENSE,
        layout.MODEL,
        only=layout.ONLY,
        biases=layout.ATTENTION_BIAS,
        head_size=128,
    )
}
