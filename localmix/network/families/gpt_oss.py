"""gpt-oss (arXiv:2508.10925): attention with sinks, in every other layer to the last 128 tokens; biases everywhere;
y = Σᵢ Softmax(Top4(x W_g + b))ᵢ · Expertᵢ(x), with a clamped activation whose numbers files do not have.

Ollama's own files name some tensors otherwise and leave out some keys.
"""

from localmix.network import layout, rope
from localmix.network.blocks import Activation, Layer
from localmix.network.build import Block, decoder
from localmix.network.decoder import Network
from localmix.network.keys import Keys
from localmix.network.layout import Layout, Number, Only, Part, Parts, Rows
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


def _fused(rows: Rows, name: str) -> dict[str, Parts]:
    """Of one role: as numbers, inputs along the rows; or as trained, in blocks of MXFP4."""
    return {
        "weight": (Part(name, rows, transposed=True), Part(name, rows, mxfp4=True)),
        "bias": Part(f"{name}_bias", rows),
    }


# The rows of an expert's gate and up take turns.
_ROLES: tuple[tuple[str, Rows, str], ...] = (
    ("gate", "even", "gate_up_proj"),
    ("up", "odd", "gate_up_proj"),
    ("down", "all", "down_proj"),
)
_EXPERTS: dict[str, Parts] = {
    f"ffn_{role}_exps.{end}": part
    for role, rows, name in _ROLES
    for end, part in _fused(rows, f"mlp.experts.{name}").items()
}
HUGGING_FACE = {
    "gpt_oss": Layout(
        "gpt-oss",
        layout.MIXTURE_NUMBERS
        | {
            "expert_used_count": Number(("num_experts_per_tok", "experts_per_token")),
            "expert_feed_forward_length": Number("intermediate_size"),
            "attention.sliding_window": Number("sliding_window"),
        },
        layout.ATTENTION
        | _EXPERTS
        | {
            "post_attention_norm": "post_attention_layernorm",
            "attn_sinks.weight": "self_attn.sinks",
            "ffn_gate_inp": "mlp.router",
        },
        layout.MODEL,
        only=layout.ONLY | {"swiglu_limit": Only(7.0), "swiglu_alpha": Only(1.702)},
        biases={
            "attention_bias": (True, ("attn_q", "attn_k", "attn_v", "attn_output")),
            "experts_bias": (True, ("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")),  # always
        },
        rope_base=150000.0,
        head_size=64,
        kinds=("sliding_attention", "full_attention"),
    )
}
