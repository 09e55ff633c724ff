"""Granite 3 and 4 (arXiv:2408.13359 has the multipliers): Llama, dense or with experts and a shared one, in which the
embedding, what layers add, scores and logits are multiplied by numbers of the file.
"""

from dataclasses import replace

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number, Part
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "neighbours") if k.flag("rope.scaling.finetuned", True) else None
    scale, residual = k.real("attention.scale", 0.0) or None, k.real("residual_scale", 1.0) or 1.0
    embedding_scale, divisor = k.real("embedding_scale", 1.0) or 1.0, k.real("logit_scale", 1.0) or 1.0
    shared = k.whole("expert_shared_feed_forward_length", 0)
    no_window(k, n)

    def layer(b: Block) -> Layer:
        attention = b.attention(rotation, scale=scale)
        if not n.experts:
            return Layer(attention, b.mixture(b.one(n.hidden)), residual)
        both = b.one(shared, "_shexp") if shared else None
        return Layer(attention, b.mixture(b.experts(n.hidden), router=b.router(), shared=both), residual)

    return decoder(n, t, layer, embedding_scale=embedding_scale, logit_scale=1 / divisor)


_SCALES = {
    "embedding_scale": Number("embedding_multiplier", "real", 1.0),
    "residual_scale": Number("residual_multiplier", "real", 1.0),
    "attention.scale": Number("attention_multiplier", "real", 1.0),
    "logit_scale": Number("logits_scaling", "real", 1.0),
}
_DENSE = Layout(
    "granite",
    layout.NUMBERS | _SCALES,
    layout.interleaved(layout.ATTENTION) | layout.DENSE,
    layout.MODEL,
    only=layout.ONLY,
    biases=layout.ATTENTION_BIAS,
)
_MIXTURE = replace(
    _DENSE,
    architecture="granitemoe",
    numbers=layout.MIXTURE_NUMBERS | _SCALES,
    layers=layout.interleaved(layout.ATTENTION)
    | {
        "ffn_gate_inp.weight": "block_sparse_moe.router.layer.weight",
        "ffn_gate_exps.weight": Part("block_sparse_moe.input_linear.weight", "first"),
        "ffn_up_exps.weight": Part("block_sparse_moe.input_linear.weight", "second"),
        "ffn_down_exps.weight": "block_sparse_moe.output_linear.weight",
        "ffn_gate_shexp.weight": Part("shared_mlp.input_linear.weight", "first"),
        "ffn_up_shexp.weight": Part("shared_mlp.input_linear.weight", "second"),
        "ffn_down_shexp.weight": "shared_mlp.output_linear.weight",
    },
)
_SHARED = {"expert_shared_feed_forward_length": Number("shared_intermediate_size", default=None)}
HUGGING_FACE = {
    "granite": _DENSE,
    "granitemoe": _MIXTURE,
    "granitemoeshared": replace(_MIXTURE, numbers=_MIXTURE.numbers | _SHARED),
}
