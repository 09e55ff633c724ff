"""Qwen3-MoE (arXiv:2505.09388): h = x + Attention(x), y = h + Σᵢ Top8(Softmax(h W_g))ᵢ · SwiGLUᵢ(h).

Queries and keys are normed, a head at a time, before they are rotated.
"""

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number, Only
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "halves")
    hidden = k.whole("expert_feed_forward_length", n.hidden // max(n.active, 1), least=1)
    no_window(k, n)

    def layer(b: Block) -> Layer:
        attention = b.attention(rotation, q_norm=b.norm("attn_q_norm", n.size), k_norm=b.norm("attn_k_norm", n.size))
        return Layer(attention, b.mixture(b.experts(hidden), router=b.router()))

    return decoder(n, t, layer)


HUGGING_FACE = {
    "qwen3_moe": Layout(
        "qwen3moe",
        layout.MIXTURE_NUMBERS | {"expert_feed_forward_length": Number("moe_intermediate_size")},
        layout.ATTENTION | layout.HEAD_NORMS | layout.EXPERTS,
        layout.MODEL,
        only=layout.ONLY | layout.ALL_SPARSE | {"norm_topk_prob": Only(True, absent=False)},
        biases=layout.ATTENTION_BIAS,
    )
}
