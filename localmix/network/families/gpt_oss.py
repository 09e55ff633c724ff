"""gpt-oss (arXiv:2508.10925): attention with sinks, in every other layer to the last 128 tokens; biases everywhere;
y = Σᵢ Softmax(Top4(x W_g + b))ᵢ · Expertᵢ(x), with a clamped activation whose numbers files do not have.

Ollama's own files name some tensors otherwise and leave out some keys.
"""

from localmix.network import rope
from localmix.network.blocks import Activation, Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.numbers import Numbers, windows
from localmix.network.tensors import Tensors

CLAMPED = Activation("clamped", alpha=1.702, limit=7.0)


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "halves", default="yarn")
    hidden = k.whole("expert_feed_forward_length", n.hidden, least=1)
    window = windows(k, n, period=2)

    def layer(b: Block) -> Layer:
        attention = b.attention(
            rotation,
            output=b.first_of("attn_output", "attn_out"),
            sinks=b.small("attn_sinks", (n.heads,), ".weight" if "attn_sinks" not in b else ""),
            window=window[b.index],
        )
        norm = b.first_of("post_attention_norm", "ffn_norm")
        return Layer(attention, b.mixture(b.experts(hidden, CLAMPED), norm, router=b.router()))

    return decoder(n, t, layer)
