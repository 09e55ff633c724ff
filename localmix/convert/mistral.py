"""Checkpoints in Mistral's own layout: params.json, consolidated.safetensors or consolidated.NN.pt.

Queries and keys are in GGUF's order already. What params.json leaves out is as mistral-inference has it:
https://github.com/mistralai/mistral-inference/blob/main/src/mistral_inference/transformer.py
"""

from pathlib import Path

import numpy as np

from localmix import network
from localmix.convert import described, pt_file, schemes
from localmix.convert.checkpoint import Checkpoint, assemble
from localmix.convert.safetensors import Named, read_folder, read_json
from localmix.convert.scales import with_scales
from localmix.convert.settings import Settings
from localmix.errors import FileFormatError, UnsupportedError
from localmix.gguf.metadata import Writable
from localmix.network.layout import Layout
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
        raise FileFormatError(f"{folder}: no consolidated*.safetensors or consolidated.*.pt found")
    kin = network.MISTRAL[bool(config.within("moe").values)]
    metadata, notes = describe(config, kin)
    tensors = Named(folder, with_scales(slices, schemes.BLOCK, notes, wanted=bool(eight_bits)))
    checkpoint = assemble(config, kin, metadata, tensors, notes, tied="output.weight" not in slices)
    tensors.finish(r"^rope\.freqs$")
    return checkpoint


def describe(config: Settings, kin: Layout) -> tuple[dict[str, Writable], list[str]]:
    """The metadata that follow from params.json, and what the user should know about them."""
    for key in ("yarn", "llama_4_scaling"):  # how newer models reach further than they were trained
        if key in config:
            raise UnsupportedError(f"{config.path}: {key} is not supported")
    window = config.whole("sliding_window") if "sliding_window" in config else None
    known = next((key for key in ("max_position_embeddings", "max_seq_len") if key in config), None)
    context = config.whole(known) if known else CONTEXT
    notes = [] if known else [f"params.json does not give the context, {CONTEXT} is assumed"]
    if window and window < context:
        notes.append(f"the context is {window}, not {context}: the model's sliding window is not supported")
        context = window
    base = config.real("rope_theta", 10000.0 if window else kin.rope_base)
    keys: dict[str, Writable] = {"context_length": context, "rope.freq_base": np.float32(base)}
    metadata = described.metadata(config, kin, title(config.path.parent))
    return metadata | {f"{kin.architecture}.{key}": value for key, value in keys.items()}, notes
