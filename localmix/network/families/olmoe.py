"""OLMoE (arXiv:2409.02060): y = Σᵢ Top8(Softmax(x W_g))ᵢ · SwiGLUᵢ(x), shares among all experts.

Queries and keys are normed over all heads together, before they are rotated.
"""

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "halves")
    normalized = k.flag("expert_weights_norm", False)
    no_window(k, n)

    def layer(b: Block) -> Layer:
        q_norm, k_norm = b.norm("attn_q_norm", n.heads * n.size), b.norm("attn_k_norm", n.kv_heads * n.size)
        attention = b.attention(rotation, q_norm=q_norm, k_norm=k_norm)
        return Layer(attention, b.mixture(b.experts(n.hidden), router=b.router(normalized=normalized)))

    return decoder(n, t, layer)


HUGGING_FACE = {
    "olmoe": Layout(
        "olmoe",
        layout.MIXTURE_NUMBERS | {"expert_weights_norm": Number("norm_topk_prob", "flag", False)},
        layout.ATTENTION | layout.HEAD_NORMS | layout.EXPERTS,
        layout.MODEL,
        only=layout.ONLY,
        biases=layout.ATTENTION_BIAS,
    )
}
