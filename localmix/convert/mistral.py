"""Checkpoints in Mistral's own layout: params.json, consolidated.safetensors or consolidated.NN.pt.

Queries and keys are in GGUF's order already. What params.json leaves out is as mistral-inference has it:
https://github.com/mistralai/mistral-inference/blob/main/src/mistral_inference/transformer.py
"""

from pathlib import Path

from localmix.convert import pt_file, schemes
from localmix.convert.checkpoint import Checkpoint, assemble
from localmix.convert.hyper import Hyper
from localmix.convert.matrix import Matrix, Scaled, Stack, Stored, Transposed
from localmix.convert.names import MISTRAL, MISTRAL_FIRST, source_name
from localmix.convert.safetensors import Named, read_folder, read_json
from localmix.convert.scales import with_scales
from localmix.convert.settings import Settings
from localmix.errors import FileFormatError, UnsupportedError
from localmix.store.hub_cache import title

CONTEXT = 32768  # params.json does not say


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Reads headers and the tokenizer, no weights."""
    config = Settings(folder / "params.json", read_json(folder / "params.json"))
    slices = read_folder(folder, "consolidated") or pt_file.read_folder(folder)
    eight_bits = config.within("quantization").text("qformat_weight", "")
    if eight_bits not in ("", "fp8_e4m3"):
        raise UnsupportedError(f"{config.path}: the weights are quantized with {eight_bits}: {schemes.TAKE}")
    if not slices:
        raise FileFormatError(f"{folder}: holds no consolidated*.safetensors or consolidated.*.pt")
    h, notes = hyper(config, tied="output.weight" not in slices)
    tensors = Named(folder, with_scales(slices, schemes.BLOCK, notes, wanted=bool(eight_bits)))
    checkpoint = assemble(folder, h, tensors, Lookup(h, tensors), config, notes)
    tensors.finish(r"^rope\.freqs$")
    return checkpoint


def hyper(config: Settings, tied: bool) -> tuple[Hyper, list[str]]:
    """The numbers of params.json, and what the user should know about them."""
    for key in ("yarn", "llama_4_scaling"):  # how newer models reach further than they were trained
        if key in config:
            raise UnsupportedError(f"{config.path}: {key} is not supported")
    width, heads = config.whole("dim"), config.whole("n_heads")
    mixture = config.within("moe")
    window = config.whole("sliding_window") if "sliding_window" in config else None
    known = next((key for key in ("max_position_embeddings", "max_seq_len") if key in config), None)
    context = config.whole(known) if known else CONTEXT
    notes = [] if known else [f"params.json does not give the context, {CONTEXT} is assumed"]
    if window and window < context:
        notes.append(f"the context is {window}, not {context}: the model's sliding window is not supported")
        context = window
    return Hyper(
        name=title(config.path.parent),
        layers=config.whole("n_layers"),
        width=width,
        hidden=config.whole("hidden_dim"),
        heads=heads,
        kv_heads=config.whole("n_kv_heads", heads),
        head_dim=config.whole("head_dim", width // heads),
        vocabulary=config.whole("vocab_size"),
        context=context,
        eps=config.real("norm_eps"),
        rope_base=config.real("rope_theta", 10000.0 if window else 1e6),
        experts=mixture.whole("num_experts") if mixture.values else 0,
        active=mixture.whole("num_experts_per_tok") if mixture.values else 0,
        tied=tied,
    ), notes


class Lookup:
    """The matrix of a GGUF name."""

    def __init__(self, h: Hyper, tensors: Named) -> None:
        self.h, self.tensors = h, tensors

    def __call__(self, name: str) -> Matrix:
        if "ffn_gate_inp." in name or "_exps." in name:
            first = source_name(MISTRAL_FIRST, name)
            if first in self.tensors:
                return self.first_release(name, self.tensors.take(first))
        if "_exps." not in name:
            return self.tensors.take(source_name(MISTRAL, name))
        return Stack([self.tensors.take(source_name(MISTRAL, name, e)) for e in range(self.h.experts)])

    def first_release(self, name: str, stored: Stored | Scaled) -> Matrix:
        if "ffn_down" not in name or isinstance(stored, Scaled):  # that release had no 8 bits
            return stored
        if stored.rows != self.h.experts * self.h.hidden:
            expected = f"{self.h.experts} experts of {self.h.hidden}"
            raise FileFormatError(f"{stored.origin(0)}: has {stored.rows} rows, expected {expected}")
        return Stack([Transposed(stored, e * self.h.hidden, self.h.hidden) for e in range(self.h.experts)])
