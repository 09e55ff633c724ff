"""Llama, Mistral and their dense kin: y = W_down · (SiLU(W_gate x) ⊙ W_up x)."""

from dataclasses import replace

from localmix.network import layout, rope
from localmix.network.blocks import Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number
from localmix.network.numbers import Numbers, no_window
from localmix.network.tensors import Tensors


def network(k: Keys, n: Numbers, t: Tensors) -> Network:
    rotation = rope.read(k, n, t, "neighbours")
    no_window(k, n)

    def layer(b: Block) -> Layer:
        return Layer(b.attention(rotation), b.mixture(b.one(n.hidden)))

    return decoder(n, t, layer)


_TABLE = Layout(
    "llama",
    layout.NUMBERS,
    layout.interleaved(layout.ATTENTION) | layout.DENSE,
    layout.MODEL,
    only=layout.ONLY,
    biases=layout.ATTENTION_BIAS,
)
# By model_type. Queries and keys are reordered: transformers turns halves.
HUGGING_FACE = {"llama": _TABLE, "mistral": replace(_TABLE, slides=True)}

# Mistral's own files: https://github.com/mistralai/mistral-inference has what params.json leaves out.
MISTRAL = Layout(
    "llama",
    {
        "embedding_length": Number("dim"),
        "block_count": Number("n_layers"),
        "feed_forward_length": Number("hidden_dim"),
        "attention.head_count": Number("n_heads"),
        "attention.head_count_kv": Number("n_kv_heads", default=None),
        "attention.layer_norm_rms_epsilon": Number("norm_eps", "real"),
        "vocab_size": Number("vocab_size"),
    },
    {
        "attn_norm": "attention_norm",
        "attn_q": "attention.wq",
        "attn_k": "attention.wk",
        "attn_v": "attention.wv",
        "attn_output": "attention.wo",
        "ffn_norm": "ffn_norm",
        "ffn_gate": "feed_forward.w1",
        "ffn_up": "feed_forward.w3",
        "ffn_down": "feed_forward.w2",
    },
    {
        "token_embd.weight": "tok_embeddings.weight",
        "output_norm.weight": "norm.weight",
        "output.weight": "output.weight",
    },
    prefix="layers.{i}.",
    rope_base=1e6,
    slides=True,
)
