"""Small networks of every shape that matters, with random weights that never change, and the files made of them.

The weights come from NumPy's RandomState, whose numbers are frozen, so nothing of them is stored:
`tests/data/make_transformers.py` gives them to transformers and keeps what that answers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_models import F32, llama_metadata, write

from quant.format import Floats


@dataclass(frozen=True)
class Spec:
    """Sizes of one network: names as in DESIGN's legend, spelled out."""

    name: str
    vocabulary: int = 64
    width: int = 32
    hidden: int = 48
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    experts: int = 0  # 0: dense
    active: int = 0
    rope_base: float = 10000.0
    linear: float = 0.0  # positions are divided by this; 0: not
    llama3: bool = False  # rope factors as in Llama 3.1
    tied: bool = False


SPECS = (
    Spec("mixtral", experts=4, active=2, rope_base=1e6),
    Spec("one_of_three", experts=3, active=1, kv_heads=4),
    Spec("five_of_eight_wide_heads", experts=8, active=5, heads=6, kv_heads=3, head_dim=16, hidden=40),
    Spec("dense", kv_heads=1, hidden=56),
    Spec("dense_tied_linear", linear=4.0, tied=True),
    Spec("dense_llama3", llama3=True, head_dim=16, rope_base=500000.0),
)
LLAMA3 = {  # as in Llama 3.1, the context it was trained for cut so that a short text meets all three bands
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONTEXT = 256
TOKENS = 40


def ids(spec: Spec) -> list[int]:
    """A text for the network."""
    return np.random.RandomState(len(spec.name)).randint(3, spec.vocabulary, TOKENS).tolist()


def weights(spec: Spec) -> dict[str, Floats]:
    """Every tensor under its name in a Hugging Face checkpoint of transformers 4 (experts one by one)."""
    random = np.random.RandomState(sum(map(ord, spec.name)))

    def values(shape: tuple[int, ...]) -> Floats:
        numbers = random.standard_normal(shape)
        return (1 + 0.1 * numbers if len(shape) == 1 else numbers * (1.5 / np.sqrt(shape[1]))).astype(np.float32)

    return {name: values(shape) for name, shape in shapes(spec).items()}


def shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """The shapes of the same."""
    query, key = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    up, down, norm = (spec.hidden, spec.width), (spec.width, spec.hidden), (spec.width,)
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (spec.vocabulary, spec.width)}
    found["model.norm.weight"] = norm
    if not spec.tied:
        found["lm_head.weight"] = spec.vocabulary, spec.width
    for layer in range(spec.layers):
        at = f"model.layers.{layer}."
        found[at + "input_layernorm.weight"] = norm
        found[at + "post_attention_layernorm.weight"] = norm
        for name, out, width in (
            ("q", query, spec.width),
            ("k", key, spec.width),
            ("v", key, spec.width),
            ("o", spec.width, query),
        ):
            found[f"{at}self_attn.{name}_proj.weight"] = out, width
        if not spec.experts:
            found |= {f"{at}mlp.{n}_proj.weight": s for n, s in (("gate", up), ("up", up), ("down", down))}
            continue
        found[at + "block_sparse_moe.gate.weight"] = spec.experts, spec.width
        for e in range(spec.experts):
            one = f"{at}block_sparse_moe.experts.{e}."
            found |= {f"{one}{n}.weight": s for n, s in (("w1", up), ("w3", up), ("w2", down))}
    return found


def to_gguf(spec: Spec, path: Path) -> Path:
    """The network as a file in F32."""
    hf = weights(spec)
    tensors = {"token_embd.weight": hf["model.embed_tokens.weight"], "output_norm.weight": hf["model.norm.weight"]}
    if not spec.tied:
        tensors["output.weight"] = hf["lm_head.weight"]
    if spec.llama3:
        tensors["rope_freqs.weight"] = _llama3_factors(spec)
    for layer in range(spec.layers):
        tensors |= _layer(spec, hf, layer)
    more: dict[str, Any] = {
        "rope__freq_base": np.float32(spec.rope_base),
        "attention__key_length": np.uint32(spec.head_dim),
        "attention__value_length": np.uint32(spec.head_dim),
        "rope__dimension_count": np.uint32(spec.head_dim),
    }
    if spec.linear:
        more |= {"rope__scaling__type": "linear", "rope__scaling__factor": np.float32(spec.linear)}
    metadata = llama_metadata(
        vocabulary=spec.vocabulary,
        width=spec.width,
        hidden=spec.hidden,
        layers=spec.layers,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        context=CONTEXT,
        experts=spec.experts,
        active=spec.active,
        **more,
    )
    return write(path, metadata, {name: (F32, values) for name, values in tensors.items()})


def _layer(spec: Spec, hf: dict[str, Floats], layer: int) -> dict[str, Floats]:
    at, blk = f"model.layers.{layer}.", f"blk.{layer}."
    tensors = {
        blk + "attn_norm.weight": hf[at + "input_layernorm.weight"],
        blk + "ffn_norm.weight": hf[at + "post_attention_layernorm.weight"],
        blk + "attn_q.weight": _interleaved(hf[at + "self_attn.q_proj.weight"], spec.heads),
        blk + "attn_k.weight": _interleaved(hf[at + "self_attn.k_proj.weight"], spec.kv_heads),
        blk + "attn_v.weight": hf[at + "self_attn.v_proj.weight"],
        blk + "attn_output.weight": hf[at + "self_attn.o_proj.weight"],
    }
    if not spec.experts:
        return tensors | {f"{blk}ffn_{n}.weight": hf[f"{at}mlp.{n}_proj.weight"] for n in ("gate", "up", "down")}
    tensors[blk + "ffn_gate_inp.weight"] = hf[at + "block_sparse_moe.gate.weight"]
    for name, w in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
        each = [hf[f"{at}block_sparse_moe.experts.{e}.{w}.weight"] for e in range(spec.experts)]
        tensors[f"{blk}ffn_{name}_exps.weight"] = np.stack(each)
    return tensors


def _interleaved(w: Floats, heads: int) -> Floats:
    """Rows of q or k from Hugging Face's halves (i, i + d/2) to GGUF's pairs (2i, 2i + 1)."""
    out, width = w.shape
    return np.ascontiguousarray(w.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2)).reshape(out, width)


def _llama3_factors(spec: Spec) -> NDArray[np.float32]:
    """What each frequency is divided by (Llama 3.1's model card): nothing, `factor`, and in between a blend."""
    wave = 2 * np.pi * spec.rope_base ** (np.arange(0, spec.head_dim, 2) / spec.head_dim)
    turns = LLAMA3["original_max_position_embeddings"] / wave
    low, high, factor = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"], LLAMA3["factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
