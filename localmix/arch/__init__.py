"""From a file to a network. To add an architecture: a module here and a row in ARCHS."""

from collections.abc import Callable
from typing import Any

import numpy as np

from localmix import gguf
from localmix.arch import config, llama, mixtral
from localmix.arch.decoder import FeedForward, Layer, Network
from localmix.arch.tensors import Tensors
from localmix.errors import FileFormatError, UnsupportedError
from quant.format import Floats

Builder = Callable[[Tensors, config.Config, int], FeedForward]
# Files of the llama family are Mixtral when they have experts: `general.architecture` says "llama" for both.
ARCHS: dict[tuple[str, bool], Builder] = {
    ("llama", True): mixtral.feed_forward,
    ("llama", False): llama.feed_forward,
}


def load(file: gguf.File) -> Network:
    """The network of a file. Reads no weights but the norms and routers."""
    path, name = str(file.path), str(file.metadata.get("general.architecture"))
    if not any(name == known for known, _ in ARCHS):
        known = ", ".join(sorted({a for a, _ in ARCHS}))
        raise UnsupportedError(f"{path}: general.architecture is {name!r}: expected one of {known}")
    tensors = Tensors(file)
    embedding = tensors.take("token_embd.weight", (-1, -1))
    c = config.read(path, file.metadata, embedding.shape[0])
    build = ARCHS[name, c.experts > 0]
    token_embd = tensors.matrix("token_embd.weight", (c.vocabulary, c.width))
    tied = "output.weight" not in tensors
    network = Network(
        config=c,
        token_embd=token_embd,
        layers=tuple(_layer(tensors, c, i, build) for i in range(c.layers)),
        output_norm=tensors.small("output_norm.weight", (c.width,)),
        output=token_embd if tied else tensors.matrix("output.weight", (c.vocabulary, c.width)),
        rope_inverse=config.rope_inverse(c, _rope_factors(tensors, c)),
    )
    tensors.finish()
    _check_vocabulary(path, file.metadata.get("tokenizer.ggml.tokens"), c.vocabulary)
    return network


def _rope_factors(tensors: Tensors, c: config.Config) -> Floats | None:
    """What the angles are divided by, if the file has a tensor of it."""
    if "rope_freqs.weight" not in tensors:
        return None
    factors = tensors.small("rope_freqs.weight", (c.rope_dims // 2,))
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise FileFormatError(
            f"{tensors.path}: tensor rope_freqs.weight: expected finite numbers above 0: it is damaged"
        )
    return factors


def _check_vocabulary(path: str, tokens: Any, rows: int) -> None:
    """As many tokens as rows of the embedding: an id of one must mean something to the other."""
    if tokens is None:
        raise FileFormatError(f"{path}: metadata key tokenizer.ggml.tokens is missing: the file has no vocabulary")
    if not isinstance(tokens, list):
        raise FileFormatError(f"{path}: tokenizer.ggml.tokens is no list of strings: convert the model again")
    if len(tokens) != rows:
        raise FileFormatError(f"{path}: tokenizer.ggml.tokens has {len(tokens)} tokens, token_embd.weight {rows} rows")


def _layer(t: Tensors, c: config.Config, i: int, build: Builder) -> Layer:
    blk = f"blk.{i}."
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    return Layer(
        attn_norm=t.small(blk + "attn_norm.weight", (c.width,)),
        attn_q=t.matrix(blk + "attn_q.weight", (q, c.width)),
        attn_k=t.matrix(blk + "attn_k.weight", (kv, c.width)),
        attn_v=t.matrix(blk + "attn_v.weight", (kv, c.width)),
        attn_output=t.matrix(blk + "attn_output.weight", (c.width, q)),
        ffn_norm=t.small(blk + "ffn_norm.weight", (c.width,)),
        ffn=build(t, c, i),
    )
