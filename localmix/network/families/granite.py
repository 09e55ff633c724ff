"""Granite 3 and 4 (arXiv:2408.13359 has the multipliers): Llama, dense or with experts and a shared one, in which the
embedding, what layers add, scores and logits are multiplied by numbers of the file.
"""

from localmix.network import rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
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
