"""Qwen2 and Qwen2.5 (arXiv:2407.10671): Llama with biases on queries, keys and values, halves rotated."""

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
        return Layer(b.attention(rotation), b.mixture(b.one(n.hidden)))

    return decoder(n, t, layer)


BIASES = {"qkv_bias": (True, ("attn_q", "attn_k", "attn_v"))}  # a key that only Qwen2-MoE's configurations have
HUGGING_FACE = {
    "qwen2": Layout(
        "qwen2",
        layout.NUMBERS,
        layout.ATTENTION | layout.DENSE,
        layout.MODEL,
        only=layout.ONLY,
        biases=BIASES,
    )
}
