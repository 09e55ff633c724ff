"""Model files of a real model's exact shapes with random weights: for measuring speed, never for quality.

Four layers of Mixtral behave per layer like the full model and fit where 26 GB do not.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix import gguf
from localmix.errors import LocalmixError
from localmix.gguf.metadata import Metadata, Writable
from quant import FORMATS
from quant.format import Format


@dataclass(frozen=True)
class Shape:
    """D width · H heads · K kv heads · F hidden · E experts · A active · V vocabulary, and the number of layers."""

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    experts: int
    active: int
    vocabulary: int
    context: int
    layers: int


SHAPES = {
    "mixtral-8x7b": Shape(4096, 32, 8, 128, 14336, 8, 2, 32000, 32768, 32),
    "mixtral-8x22b": Shape(6144, 48, 8, 128, 16384, 8, 2, 32000, 65536, 56),
    "mistral-7b": Shape(4096, 32, 8, 128, 14336, 0, 0, 32000, 32768, 32),
}
_ROWS = 4096  # written at a time
_WEIGHT = 0.02  # root mean square
# The mean of a format's codes, for its minima: weights of mean zero, or all activations are nearly one number.
_MEANS = {"q4_1": 7.5, "q5_1": 15.5, "q2_k": 1.5, "q4_k": 7.5, "q5_k": 15.5}


def write(path: Path, name: str, layers: int | None, format_name: str) -> None:
    """Write the file. LocalmixError: no such shape or format, or the disk."""
    if name not in SHAPES:
        raise LocalmixError(f"no shape {name!r}: expected one of {', '.join(SHAPES)}")
    if format_name.lower() not in FORMATS:
        raise LocalmixError(f"no format {format_name!r}: expected one of {', '.join(FORMATS)}")
    shape, format = SHAPES[name], FORMATS[format_name.lower()]
    count = layers or shape.layers
    tensors = list(_tensors(shape, count, format))
    rng = np.random.default_rng(0)
    with gguf.Writer(path, _metadata(name, shape, count), tensors) as out:
        for info in tensors:
            rows = int(np.prod(info.shape[:-1]))
            for at in range(0, rows, _ROWS):
                out.write(info.name, _noise(rng, info, min(_ROWS, rows - at)))


def sample(path: Path, file: gguf.File, layers: Sequence[int]) -> None:
    """A file like `file`, of which the header is enough, with only these layers and random weights."""
    places = {f"blk.{layer}.": f"blk.{i}." for i, layer in enumerate(layers)}
    infos = []
    for tensor in file.tensors.values():
        block = re.match(r"blk\.\d+\.", tensor.name)
        if block is None or block[0] in places:
            name = tensor.name if block is None else places[block[0]] + tensor.name.removeprefix(block[0])
            infos.append(gguf.TensorInfo(name, tensor.shape, tensor.format))
    rng, noise = np.random.default_rng(0), {}
    key = f"{file.metadata['general.architecture']}.block_count"
    metadata = {k: v for k, v in file.typed_metadata.items() if not k.startswith("split.")}
    with gguf.Writer(path, metadata | {key: np.uint32(len(layers))}, infos) as out:
        for info in infos:
            rows = math.prod(info.shape[:-1])
            for at in range(0, rows, _ROWS):
                some = info.format.name, info.shape[-1], min(_ROWS, rows - at), len(info.shape)
                if some not in noise:
                    noise[some] = _noise(rng, info, some[2])
                out.write(info.name, noise[some])


def _noise(rng: np.random.Generator, info: gguf.TensorInfo, rows: int) -> NDArray:
    """Random blocks with scales that keep activations finite; norms are ones."""
    format, width = info.format, info.shape[-1]
    if len(info.shape) == 1:
        return np.ones((rows, width), np.float32) if rows > 1 else np.ones(width, np.float32)
    if format.dtype.fields is None:
        values = (rng.standard_normal((rows, width)) * _WEIGHT).astype(np.float32)
        assert format.quantize is not None, format
        return format.quantize(values, None)
    blocks = rng.integers(0, 256, (rows, format.row_bytes(width)), np.uint8).view(format.dtype)
    if "e" in format.dtype.fields:
        blocks["e"] = 120  # 2^-8, about the same size
        return blocks
    mean = _MEANS.get(format.name, 0.0)
    scales = {field: one for field, one in (("d", 1), ("dmin", mean), ("m", -mean)) if field in format.dtype.fields}
    for field, one in scales.items():
        blocks[field] = one
    size = float(np.sqrt(np.square(format.dequantize(blocks[:1]), dtype=np.float64).mean()))
    for field, one in scales.items():
        blocks[field] = one * _WEIGHT / size
    return blocks


def _tensors(s: Shape, layers: int, format: Format) -> Iterator[gguf.TensorInfo]:
    norm, f32 = (s.width,), FORMATS["f32"]
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    yield gguf.TensorInfo("token_embd.weight", (s.vocabulary, s.width), format)
    for i in range(layers):
        blk = f"blk.{i}."
        yield gguf.TensorInfo(blk + "attn_norm.weight", norm, f32)
        yield gguf.TensorInfo(blk + "attn_q.weight", (q, s.width), format)
        yield gguf.TensorInfo(blk + "attn_k.weight", (kv, s.width), format)
        yield gguf.TensorInfo(blk + "attn_v.weight", (kv, s.width), format)
        yield gguf.TensorInfo(blk + "attn_output.weight", (s.width, q), format)
        yield gguf.TensorInfo(blk + "ffn_norm.weight", norm, f32)
        up, down = (s.hidden, s.width), (s.width, s.hidden)
        if s.experts:
            yield gguf.TensorInfo(blk + "ffn_gate_inp.weight", (s.experts, s.width), f32)
        lead, tail = ((s.experts,), "_exps.weight") if s.experts else ((), ".weight")
        for part, matrix in (("gate", up), ("up", up), ("down", down)):
            yield gguf.TensorInfo(f"{blk}ffn_{part}{tail}", (*lead, *matrix), format)
    yield gguf.TensorInfo("output_norm.weight", norm, f32)
    yield gguf.TensorInfo("output.weight", (s.vocabulary, s.width), format)


def _metadata(name: str, s: Shape, layers: int) -> Metadata:
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    pieces += [f"▁{i}" for i in range(s.vocabulary - len(pieces))]
    kinds = np.array([2, 3, 3] + [6] * 256 + [1] * (s.vocabulary - 259), np.int32)
    metadata: dict[str, Writable] = {
        "general.architecture": "llama",
        "general.name": f"{name}, {layers} layers, random weights",
        "llama.context_length": s.context,
        "llama.embedding_length": s.width,
        "llama.block_count": layers,
        "llama.feed_forward_length": s.hidden,
        "llama.rope.dimension_count": s.head_dim,
        "llama.attention.head_count": s.heads,
        "llama.attention.head_count_kv": s.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        "llama.rope.freq_base": np.float32(1e6),
        "llama.vocab_size": s.vocabulary,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": -np.arange(s.vocabulary, dtype=np.float32),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }
    if s.experts:
        metadata |= {"llama.expert_count": s.experts, "llama.expert_used_count": s.active}
    return metadata
