"""Checkpoints as `transformers` saves them: config.json, safetensors, a tokenizer.

Both forms of the configuration are read (transformers 4: rope_theta and rope_scaling; 5: rope_parameters), and
experts one by one or merged. Queries and keys are reordered to GGUF's rotation.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from localmix.convert import pt_file, schemes
from localmix.convert.checkpoint import Checkpoint, assemble
from localmix.convert.hyper import Hyper
from localmix.convert.matrix import Interleaved, Matrix, Part, Stack
from localmix.convert.names import (
    HUGGING_FACE,
    HUGGING_FACE_DOWN,
    HUGGING_FACE_GATE_UP,
    HUGGING_FACE_ROUTER,
    source_name,
)
from localmix.convert.safetensors import Named, Slice, read_folder, read_json
from localmix.convert.scales import with_scales
from localmix.convert.settings import Settings
from localmix.convert.spelling import with_prefix
from localmix.errors import FileFormatError, UnsupportedError
from localmix.store.hub_cache import title
from quant.format import Floats

EMBEDDING, OUTPUT = (source_name(HUGGING_FACE, name) for name in ("token_embd.weight", "output.weight"))
COMPARED = 64  # rows at a time
ROPE_BASES = {"mixtral": 1e6, "mistral": 1e4, "llama": 1e4}  # by model_type: those of configurations without one


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Reads headers and the tokenizer, and no weights but to see whether two are tied."""
    config = Settings(folder / "config.json", read_json(folder / "config.json"))
    schemes.refuse(config)
    h, notes = hyper(config)
    slices = read_folder(folder) or pt_file.read_folder(folder, pt_file.TRANSFORMERS)
    if not slices:
        raise FileFormatError(
            f"{folder}: holds no model*.safetensors and no pytorch_model*.bin; is the download complete?"
        )
    slices = with_prefix(with_scales(slices, schemes.block(config), notes, wanted=bool(schemes.method(config))))
    if h.tied and differ(slices.get(EMBEDDING), slices.get(OUTPUT)):
        h = replace(h, tied=False)
        notes.append(f"{OUTPUT} is kept: config.json ties it to the embedding, but its weights are others")
    tensors = Named(folder, slices)
    checkpoint = assemble(folder, h, tensors, Lookup(h, tensors), config, notes)
    tensors.finish(rf"^{re.escape(OUTPUT)}$" if h.tied else "(?!)")
    return checkpoint


def differ(embedding: Slice | None, output: Slice | None) -> bool:
    """Whether both are there and not the same: then `transformers` (5) does not tie them, whatever it was told."""
    if embedding is None or output is None:
        return False
    a, b = embedding.matrix, output.matrix
    if (a.rows, a.width) != (b.rows, b.width):
        return True
    spans = ((start, min(start + COMPARED, a.rows)) for start in range(0, a.rows, COMPARED))
    return any(not np.array_equal(a.read(*span), b.read(*span)) for span in spans)


def hyper(config: Settings) -> tuple[Hyper, list[str]]:
    """The numbers of config.json, and what the user should know about them."""
    kind = config.text("model_type")
    if kind not in ROPE_BASES:
        raise UnsupportedError(f"{config.path}: model_type is {kind!r}, expected one of {', '.join(ROPE_BASES)}")
    if config.text("hidden_act", "silu") != "silu":
        raise UnsupportedError(f"{config.path}: hidden_act is {config.text('hidden_act')!r}, expected 'silu'")
    for key in ("attention_bias", "mlp_bias"):
        if config.flag(key, False):
            raise UnsupportedError(f"{config.path}: {key} is true: biases are not supported")
    width, heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    head_dim = config.whole("head_dim", width // heads)
    base, factor, factors = rope(config, head_dim, ROPE_BASES[kind])
    context, notes = context_length(config)
    mixture = kind == "mixtral"
    return Hyper(
        name=title(config.path.parent),
        layers=config.whole("num_hidden_layers"),
        width=width,
        hidden=config.whole("intermediate_size"),
        heads=heads,
        kv_heads=config.whole("num_key_value_heads", heads),
        head_dim=head_dim,
        vocabulary=config.whole("vocab_size"),
        context=context,
        eps=config.real("rms_norm_eps"),
        rope_base=base,
        experts=config.whole("num_local_experts") if mixture else 0,
        active=config.whole("num_experts_per_tok") if mixture else 0,
        tied=config.flag("tie_word_embeddings", False),
        rope_factor=factor,
        rope_factors=factors,
    ), notes


def context_length(config: Settings) -> tuple[int, list[str]]:
    """Positions that the model may use: with a sliding window, those for which the window changes nothing."""
    context = config.whole("max_position_embeddings")
    window = config.whole("sliding_window", context)
    if window >= context:
        return context, []
    return window, [f"the context is {window}, not {context}: the model's sliding window is not supported"]


def rope(config: Settings, head_dim: int, default: float) -> tuple[float, float, Floats | None]:
    """Base, factor that positions are divided by, and factors of single frequencies."""
    parameters = config.within("rope_parameters")  # transformers 5
    scaling = parameters if parameters.values else config.within("rope_scaling")  # transformers 4
    base = (parameters if "rope_theta" in parameters else config).real("rope_theta", default)
    if any(place.real("partial_rotary_factor", 1.0) != 1.0 for place in (config, parameters)):
        raise UnsupportedError(
            f"{config.path}: partial_rotary_factor is not 1: heads that rotate in part are not supported"
        )
    kind = scaling.text("rope_type", scaling.values.get("type") or "default")
    if kind == "default":
        return base, 1.0, None
    if kind == "linear":
        return base, scaling.real("factor"), None
    if kind == "llama3":
        return base, 1.0, llama3_factors(scaling, base, head_dim)
    raise UnsupportedError(f"{config.path}: rope_type is {kind!r}, expected default, linear or llama3")


def llama3_factors(scaling: Settings, base: float, head_dim: int) -> Floats:
    """What Llama 3.1 divides each frequency by: nothing for fast ones, `factor` for slow ones, a ramp between."""
    factor, trained = scaling.real("factor"), scaling.real("original_max_position_embeddings")
    low, high = scaling.real("low_freq_factor"), scaling.real("high_freq_factor")
    frequency = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    turns = trained * frequency / (2 * math.pi)  # within the trained context
    ramp = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - ramp) / factor + ramp)).astype(np.float32)


class Lookup:
    """The matrix of a GGUF name."""

    def __init__(self, h: Hyper, tensors: Named) -> None:
        self.h, self.tensors = h, tensors

    def __call__(self, name: str) -> Matrix:
        role = name.split(".")[-2]
        if role in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            return self.experts(name, role)
        stored = source_name(HUGGING_FACE, name)
        if role == "ffn_gate_inp" and stored not in self.tensors:
            stored = HUGGING_FACE_ROUTER.format(i=name.split(".")[1])
        heads = {"attn_q": self.h.heads, "attn_k": self.h.kv_heads}.get(role)
        matrix = self.tensors.take(stored)
        if heads is None:
            return matrix
        if matrix.rows != heads * self.h.head_dim:
            expected = f"{heads} heads of {self.h.head_dim}"
            raise FileFormatError(f"{matrix.origin(0)} has {matrix.rows} rows, expected {expected}")
        return Interleaved(matrix, heads)

    def experts(self, name: str, role: str) -> Matrix:
        """The experts of one role, from single tensors or from merged ones."""
        singles = [source_name(HUGGING_FACE, name, e) for e in range(self.h.experts)]
        layer = name.split(".")[1]
        gate_up, down = HUGGING_FACE_GATE_UP.format(i=layer), HUGGING_FACE_DOWN.format(i=layer)
        if gate_up not in self.tensors:
            return Stack([self.tensors.take(single) for single in singles])
        if role == "ffn_down_exps":
            return self.tensors.take(down)
        both, f = self.tensors.take(gate_up), self.h.hidden
        first = 0 if role == "ffn_gate_exps" else f
        return Stack([Part(both, 2 * f * e + first, f) for e in range(self.h.experts)])
