"""Qwen1.5-MoE and Qwen2-MoE (arXiv:2407.10671): y = Σᵢ Top4(Softmax(x W_g))ᵢ · SwiGLUᵢ(x) + σ(x w) · SwiGLU(x).

Shares of the chosen experts are those among all of them; one shared expert has a gate of its own.
"""

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.families import qwen2
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "halves")
    hidden = k.whole("expert_feed_forward_length", n.hidden // max(n.active, 1), least=1)
    shared = k.whole("expert_shared_feed_forward_length", n.hidden, least=1)
    normalized = k.flag("expert_weights_norm", False)
    no_window(k, n)

    def layer(b: Block) -> Layer:
        mixture = b.mixture(
            b.experts(hidden),
            router=b.router(normalized=normalized),
            shared=b.one(shared, "_shexp"),
            shared_gate=b.small("ffn_gate_inp_shexp", (n.width,)),
        )
        return Layer(b.attention(rotation), mixture)

    return decoder(n, t, layer)


HUGGING_FACE = {
    "qwen2_moe": Layout(
        "qwen2moe",
        layout.MIXTURE_NUMBERS
        | {
            "expert_feed_forward_length": Number("moe_intermediate_size"),
            "expert_shared_feed_forward_length": Number("shared_expert_intermediate_size"),
            "expert_weights_norm": Number("norm_topk_prob", "flag", False),
        },
        layout.ATTENTION
        | layout.EXPERTS
        | {
            "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
            "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
            "ffn_up_shexp": "mlp.shared_expert.up_proj",
            "ffn_down_shexp": "mlp.shared_expert.down_proj",
        },
        layout.MODEL,
        only=layout.ONLY | layout.ALL_SPARSE,
        biases=qwen2.BIASES,
    )
}
