"""Checkpoints as `transformers` saves them: config.json, safetensors, a tokenizer.

What each `model_type` calls its numbers and tensors is its family's to say (network/families).
"""

import re
from pathlib import Path

import numpy as np

from localmix import network
from localmix.convert import described, pt_file, schemes
from localmix.convert.checkpoint import Checkpoint, assemble
from localmix.convert.rotation import rotation
from localmix.convert.safetensors import Named, Slice, read_folder, read_json
from localmix.convert.scales import with_scales
from localmix.convert.settings import Settings
from localmix.convert.spelling import with_prefix
from localmix.errors import FileFormatError, UnsupportedError
from localmix.network.layout import Layout
from localmix.store.hub_cache import title

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
COMPARED = 64  # rows at a time


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Reads headers and the tokenizer, and no weights but to see whether two are tied."""
    config = Settings(folder / "config.json", read_json(folder / "config.json"))
    schemes.refuse(config)
    kin = layout_of(config)
    metadata = described.metadata(config, kin, title(folder))
    context, notes = described.context_length(config, kin)
    turned = rotation(config, described.number_of(metadata, f"{kin.architecture}.rope.dimension_count"), kin.rope_base)
    keys = {"context_length": context, **turned.keys}
    metadata |= {f"{kin.architecture}.{key}": value for key, value in keys.items()}
    slices = read_folder(folder) or pt_file.read_folder(folder, pt_file.TRANSFORMERS)
    if not slices:
        raise FileFormatError(f"{folder}: no model*.safetensors or pytorch_model*.bin found; is the download complete?")
    slices = with_prefix(with_scales(slices, schemes.block(config), notes, wanted=bool(schemes.method(config))))
    tied = config.flag("tie_word_embeddings", False)
    if tied and differ(slices.get(EMBEDDING), slices.get(OUTPUT)):
        tied = False
        notes.append(f"{OUTPUT} is kept: config.json ties it to the embedding, but its weights differ")
    tensors = Named(folder, slices)
    checkpoint = assemble(config, kin, metadata, tensors, notes, tied=tied, factors=turned.factors)
    config.finish(described.DECORATION)
    tensors.finish(rf"^{re.escape(OUTPUT)}$" if tied else "(?!)")
    return checkpoint


def layout_of(config: Settings) -> Layout:
    """How checkpoints of this model_type are laid out. UnsupportedError: none is known."""
    kind = config.text("model_type")
    if kind not in network.HUGGING_FACE:
        known = ", ".join(network.HUGGING_FACE)
        raise UnsupportedError(f"{config.path}: model_type is {kind!r}, expected one of {known}")
    return network.HUGGING_FACE[kind]


def differ(embedding: Slice | None, output: Slice | None) -> bool:
    """Whether both are there and not the same: then `transformers` (5) does not tie them, whatever it was told."""
    if embedding is None or output is None:
        return False
    a, b = embedding.matrix, output.matrix
    if (a.rows, a.width) != (b.rows, b.width):
        return True
    spans = ((start, min(start + COMPARED, a.rows)) for start in range(0, a.rows, COMPARED))
    return any(not np.array_equal(a.read(*span), b.read(*span)) for span in spans)
