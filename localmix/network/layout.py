"""What others call a family's numbers and tensors: tables that a family's file builds on those here.

They are data, for whoever reads checkpoints (convert/); nothing here reads a file. Names of numbers are GGUF's
without the architecture, names of tensors GGUF's without `blk.N.`; a name without `.weight` or `.bias` stands for
both. In the checkpoint's names {i} is the layer and {e} the expert.
Shapes: E experts · F hidden · D width.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

REQUIRED: Any = object()


class Number(NamedTuple):
    """A key of a checkpoint's configuration, the first of `names` that is there; `a.b` is b within a."""

    names: str | tuple[str, ...]
    kind: Literal["whole", "real", "flag"] = "whole"
    default: Any = REQUIRED  # None: then the file has no such key either


class Only(NamedTuple):
    """The one value of a key of the configuration that can be carried out, and what its absence means."""

    value: Any
    absent: Any = None  # None: the same


Rows = Literal["all", "first", "second", "even", "odd"]


class Part(NamedTuple):
    """A tensor of a checkpoint, and how GGUF's rows are made of it.

    `rows` of each expert: all of them, or those that two tensors share: halves, or one after the other. `heads` is the
    key with the number of heads whose rows are reordered from halves (i, i + n/2) to neighbours (2i, 2i + 1).
    """

    name: str
    rows: Rows = "all"
    transposed: bool = False  # (E, D, F): the inputs lie along the rows
    mxfp4: bool = False  # `name`_blocks (E, F, D/32, 16) and `name`_scales (E, F, D/32)
    heads: str = ""


Parts = str | Part | tuple[str | Part, ...]
"""Where a tensor is to be found: the first that the checkpoint has."""


@dataclass(frozen=True)
class Layout:
    """How checkpoints of one `model_type` are laid out, and which architecture they become."""

    architecture: str
    numbers: dict[str, Number]
    layers: dict[str, Parts]
    model: dict[str, Parts]  # outside of the layers
    prefix: str = "model.layers.{i}."
    only: Mapping[str, Only] = field(default_factory=dict)
    biases: Mapping[str, tuple[bool, tuple[str, ...]]] = field(default_factory=dict)  # flag: default, and what has one
    rope_base: float = 10000.0  # where the configuration does not say
    head_size: int = 0  # the same; 0: the width over the heads
    slides: bool = False  # a window is one without use_sliding_window
    kinds: tuple[str, ...] = ("full_attention",)  # layer_types, repeated

    def parts(self, name: str) -> tuple[Part, ...]:
        """Where the GGUF tensor `name` may be, {e} left open; nowhere: ()."""
        layer = re.match(r"blk\.(\d+)\.", name)
        table, own = (self.model, name) if layer is None else (self.layers, name[layer.end() :])
        suffix = next((end for end in (".weight", ".bias") if own.endswith(end)), "")
        stem = own.removesuffix(suffix)
        found, end = (table[own], "") if own in table else (table.get(stem, ()) if suffix else (), suffix)
        prefix = "" if layer is None else self.prefix.replace("{i}", layer[1])
        return tuple(
            one._replace(name=f"{prefix}{one.name}{end}")
            for one in map(_part, found if isinstance(found, tuple) and not isinstance(found, Part) else (found,))
        )

    def flag(self, name: str) -> tuple[str, bool] | None:
        """The key that says whether there is a tensor `name`, and what its absence means; None: none does."""
        stem = re.sub(r"^blk\.\d+\.", "", name).removesuffix(".bias")
        found = ((key, default) for key, (default, stems) in self.biases.items() if stem in stems)
        return next(found, None) if name.endswith(".bias") else None


def _part(one: str | Part) -> Part:
    return one if isinstance(one, Part) else Part(one)


def interleaved(table: Mapping[str, Parts]) -> dict[str, Parts]:
    """The table with queries and keys reordered, for architectures whose rotation turns neighbours."""
    heads = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}
    return {
        name: Part(parts, heads=heads[name]) if name in heads and isinstance(parts, str) else parts
        for name, parts in table.items()
    }


# Of transformers: what nearly all of its causal models have in common.
NUMBERS = {
    "embedding_length": Number("hidden_size"),
    "block_count": Number("num_hidden_layers"),
    "feed_forward_length": Number("intermediate_size"),
    "attention.head_count": Number("num_attention_heads"),
    "attention.head_count_kv": Number("num_key_value_heads", default=None),
    "attention.layer_norm_rms_epsilon": Number("rms_norm_eps", "real"),
    "vocab_size": Number("vocab_size"),
}
MIXTURE_NUMBERS = NUMBERS | {
    "expert_count": Number(("num_experts", "num_local_experts")),
    "expert_used_count": Number("num_experts_per_tok"),
}
ONLY = {"hidden_act": Only("silu"), "mlp_bias": Only(False)}
ALL_SPARSE = {"decoder_sparse_step": Only(1), "mlp_only_layers": Only([])}
ATTENTION_BIAS = {"attention_bias": (False, ("attn_q", "attn_k", "attn_v", "attn_output"))}

MODEL: dict[str, Parts] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
NORMS: dict[str, Parts] = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
ATTENTION: dict[str, Parts] = NORMS | {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
HEAD_NORMS: dict[str, Parts] = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
DENSE: dict[str, Parts] = {
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Experts one by one, as they are published, or all in one tensor, as transformers 5 holds them in memory.
EXPERTS: dict[str, Parts] = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps.weight": (
        "mlp.experts.{e}.gate_proj.weight",
        Part("mlp.experts.gate_up_proj", "first"),
    ),
    "ffn_up_exps.weight": ("mlp.experts.{e}.up_proj.weight", Part("mlp.experts.gate_up_proj", "second")),
    "ffn_down_exps.weight": ("mlp.experts.{e}.down_proj.weight", "mlp.experts.down_proj"),
}
