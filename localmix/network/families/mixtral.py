"""Mixtral (arXiv:2401.04088): y = Σᵢ Softmax(Top2(x · W_g))ᵢ · SwiGLUᵢ(x). Any E, any A."""

from localmix.network import rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
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
