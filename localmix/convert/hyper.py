"""A model's numbers, whatever the checkpoint calls them, and what follows from them: shapes and metadata.

Every reader of a checkpoint fills in one Hyper; from here on all sources are alike.
Letters: D width · H heads · K kv heads · E experts · F hidden · V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from localmix.gguf.metadata import Writable
from quant.format import Floats

ARCHITECTURE = "llama"  # GGUF's name for Llama, Mistral and Mixtral alike


@dataclass(frozen=True)
class Hyper:
    name: str
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    eps: float
    rope_base: float
    experts: int = 0  # 0: dense
    active: int = 0
    tied: bool = False  # the output is the embedding
    rope_factor: float = 1.0  # positions are divided by this
    rope_factors: Floats | None = None  # (head_dim / 2,), divides each frequency: Llama 3's long contexts


def shapes(h: Hyper) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the GGUF but rope_freqs, in file order, one at a time: a damaged number asks for millions."""
    q, kv = h.heads * h.head_dim, h.kv_heads * h.head_dim
    yield "token_embd.weight", (h.vocabulary, h.width)
    for i in range(h.layers):
        blk = f"blk.{i}."
        yield blk + "attn_norm.weight", (h.width,)
        yield blk + "attn_q.weight", (q, h.width)
        yield blk + "attn_k.weight", (kv, h.width)
        yield blk + "attn_v.weight", (kv, h.width)
        yield blk + "attn_output.weight", (h.width, q)
        yield blk + "ffn_norm.weight", (h.width,)
        if h.experts:
            yield blk + "ffn_gate_inp.weight", (h.experts, h.width)
            yield blk + "ffn_gate_exps.weight", (h.experts, h.hidden, h.width)
            yield blk + "ffn_up_exps.weight", (h.experts, h.hidden, h.width)
            yield blk + "ffn_down_exps.weight", (h.experts, h.width, h.hidden)
        else:
            yield blk + "ffn_gate.weight", (h.hidden, h.width)
            yield blk + "ffn_up.weight", (h.hidden, h.width)
            yield blk + "ffn_down.weight", (h.width, h.hidden)
    yield "output_norm.weight", (h.width,)
    if not h.tied:
        yield "output.weight", (h.vocabulary, h.width)


def metadata(h: Hyper) -> dict[str, Writable]:
    """The keys that llama.cpp and localmix read the arithmetic from."""
    keys: dict[str, Writable] = {
        "context_length": h.context,
        "embedding_length": h.width,
        "block_count": h.layers,
        "feed_forward_length": h.hidden,
        "attention.head_count": h.heads,
        "attention.head_count_kv": h.kv_heads,
        "attention.layer_norm_rms_epsilon": np.float32(h.eps),
        "rope.dimension_count": h.head_dim,
        "rope.freq_base": np.float32(h.rope_base),
        "vocab_size": h.vocabulary,
    }
    if h.head_dim * h.heads != h.width:
        keys |= {"attention.key_length": h.head_dim, "attention.value_length": h.head_dim}
    if h.experts:
        keys |= {"expert_count": h.experts, "expert_used_count": h.active}
    if h.rope_factor != 1.0:
        keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": np.float32(h.rope_factor)}
    prefixed = {f"{ARCHITECTURE}.{key}": value for key, value in keys.items()}
    return {"general.architecture": ARCHITECTURE, "general.name": h.name, **prefixed}
