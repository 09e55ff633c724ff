"""Mixtral (arXiv:2401.04088): y = Σᵢ Softmax(Top2(x · W_g))ᵢ · SwiGLUᵢ(x). Any E, any A."""

from dataclasses import replace

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.families import llama
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number, Part
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    hidden = k.whole("expert_feed_forward_length", n.hidden, least=1)
    rotation = rope.read(k, n, t, "neighbours")
    no_window(k, n)

    def layer(b: Block) -> Layer:
        attention = b.attention(rotation)
        router = b.router()  # the softmax over the chosen is that over all, divided by the sum of the chosen
        return Layer(attention, b.mixture(b.experts(hidden), router=router))

    return decoder(n, t, layer)


HUGGING_FACE = {
    "mixtral": Layout(
        "llama",
        layout.MIXTURE_NUMBERS,
        layout.interleaved(layout.ATTENTION)
        | layout.EXPERTS
        | {
            "ffn_gate_inp": ("block_sparse_moe.gate", "mlp.gate"),
            "ffn_gate_exps.weight": (
                "block_sparse_moe.experts.{e}.w1.weight",
                Part("mlp.experts.gate_up_proj", "first"),
            ),
            "ffn_up_exps.weight": (
                "block_sparse_moe.experts.{e}.w3.weight",
                Part("mlp.experts.gate_up_proj", "second"),
            ),
            "ffn_down_exps.weight": ("block_sparse_moe.experts.{e}.w2.weight", "mlp.experts.down_proj"),
        },
        layout.MODEL,
        only=layout.ONLY,
        rope_base=1e6,
        slides=True,
    )
}

# Mistral's own files. The first release has the experts of a layer in one tensor, (E F, D) each, w2 transposed.
MISTRAL = replace(
    llama.MISTRAL,
    numbers=llama.MISTRAL.numbers
    | {"expert_count": Number("moe.num_experts"), "expert_used_count": Number("moe.num_experts_per_tok")},
    layers=llama.MISTRAL.layers
    | {
        "ffn_gate_inp": ("block_sparse_moe.gate", "feed_forward.gate"),
        "ffn_gate_exps.weight": ("block_sparse_moe.w1", "feed_forward.experts.{e}.w1.weight"),
        "ffn_up_exps.weight": ("block_sparse_moe.w3", "feed_forward.experts.{e}.w3.weight"),
        "ffn_down_exps.weight": (
            Part("block_sparse_moe.w2", transposed=True),
            "feed_forward.experts.{e}.w2.weight",
        ),
    },
)
