"""Model files of a real model's exact shapes with random weights: for measuring speed, never for quality.

Four layers of Mixtral behave per layer like the full model and fit where 26 GB do not.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix import gguf, network
from localmix.errors import LocalmixError
from localmix.gguf.metadata import Metadata, Writable
from quant import FORMATS
from quant.format import Format
from quant.recipe import Model, Recipe, Row, choose


@dataclass(frozen=True)
class Shape:
    """What a file of a model says: its architecture, the keys of that without their prefix, and the vocabulary."""

    architecture: str
    vocabulary: int
    keys: Mapping[str, int | float | str]
    biased: str = "^$"  # which tensors have a bias
    tied: bool = False
    expert_format: str = ""  # that all files of it have

    @property
    def layers(self) -> int:
        return int(self.keys["block_count"])


def shape(
    architecture: str,
    vocabulary: int,
    width: int,
    heads: tuple[int, int, int],
    hidden: int,
    layers: int,
    context: int,
    experts: tuple[int, int] = (0, 0),
    more: Mapping[str, int | float | str] | None = None,
    **others: Any,
) -> Shape:
    """`heads`: how many, how many of keys and values, and their size. `experts`: how many, and how many are chosen.

    `others` are fields of Shape.
    """
    keys: dict[str, int | float | str] = {
        "context_length": context,
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": hidden,
        "rope.dimension_count": heads[2],
        "attention.head_count": heads[0],
        "attention.head_count_kv": heads[1],
        "attention.key_length": heads[2],
        "attention.value_length": heads[2],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 1e6,
        "vocab_size": vocabulary,
    }
    if experts[0]:
        keys |= {"expert_count": experts[0], "expert_used_count": experts[1]}
    return Shape(architecture, vocabulary, keys | dict(more or {}), **others)


GPT_OSS: Mapping[str, int | float | str] = {
    "expert_feed_forward_length": 2880,
    "attention.sliding_window": 128,
    "rope.freq_base": 150000.0,
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 32.0,
    "rope.scaling.original_context_length": 4096,
}
SHAPES = {
    "mixtral-8x7b": shape("llama", 32000, 4096, (32, 8, 128), 14336, 32, 32768, (8, 2)),
    "mixtral-8x22b": shape("llama", 32000, 6144, (48, 8, 128), 16384, 56, 65536, (8, 2)),
    "mistral-7b": shape("llama", 32000, 4096, (32, 8, 128), 14336, 32, 32768),
    "qwen3-30b-a3b": shape("qwen3moe", 151936, 2048, (32, 4, 128), 6144, 48, 40960, (128, 8),
                           {"expert_feed_forward_length": 768}),
    "gpt-oss-20b": shape("gpt-oss", 201088, 2880, (64, 8, 64), 2880, 24, 131072, (32, 4), GPT_OSS, biased=".",
                         expert_format="mxfp4"),
    "gpt-oss-120b": shape("gpt-oss", 201088, 2880, (64, 8, 64), 2880, 36, 131072, (128, 4), GPT_OSS, biased=".",
                          expert_format="mxfp4"),
    "qwen1.5-moe-a2.7b": shape("qwen2moe", 151936, 2048, (16, 16, 128), 5632, 24, 8192, (60, 4),
                               {"expert_feed_forward_length": 1408, "expert_shared_feed_forward_length": 5632},
                               biased="attn_[qkv]"),
    "olmoe-1b-7b": shape("olmoe", 50304, 2048, (16, 16, 128), 1024, 16, 4096, (64, 8), {"rope.freq_base": 1e4}),
    "granite-3b-a800m": shape("granitemoe", 49155, 1536, (24, 8, 64), 512, 32, 4096, (40, 8),
                              {"rope.freq_base": 1e4, "attention.scale": 0.015625, "embedding_scale": 12.0,
                               "residual_scale": 0.22, "logit_scale": 6.0}, tied=True),
}  # fmt: skip
_ROWS = 4096  # written at a time
_WEIGHT = 0.02  # root mean square


def write(path: Path, name: str, layers: int | None, format_name: str) -> None:
    """Write the file; `name` may be the beginning of one. LocalmixError: no such shape or format, or the disk."""
    found = [name] if name in SHAPES else [one for one in SHAPES if one.startswith(name)]
    if len(found) != 1:
        raise LocalmixError(f"unknown shape {name!r}: expected one of {', '.join(SHAPES)}")
    if format_name.lower() not in FORMATS:
        raise LocalmixError(f"unknown format {format_name!r}: expected one of {', '.join(FORMATS)}")
    write_shape(path, found[0], SHAPES[found[0]], layers, FORMATS[format_name.lower()])


def write_shape(path: Path, name: str, shape: Shape, layers: int | None, format: Format) -> None:
    """The same for any shape."""
    metadata = _metadata(name, shape, layers or shape.layers)
    tensors = list(_tensors(path, shape, metadata, format))
    rng = np.random.default_rng(0)
    with gguf.Writer(path, metadata, tensors) as out:
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
                some = info.format.name, info.shape[-1], min(_ROWS, rows - at), "norm" in info.name
                if some not in noise:
                    noise[some] = _noise(rng, info, some[2])
                out.write(info.name, noise[some])


def _noise(rng: np.random.Generator, info: gguf.TensorInfo, rows: int) -> NDArray:
    """Random blocks with scales that keep activations finite; norms are ones."""
    format, width = info.format, info.shape[-1]
    if len(info.shape) == 1 and "norm" in info.name:
        return np.ones(width, np.float32)
    if format.dtype.fields is None:
        size = _WEIGHT / 10 if info.name.endswith(".bias") else _WEIGHT
        values = (rng.standard_normal((rows, width)) * size).astype(np.float32)
        assert format.quantize is not None, format
        return format.quantize(values, None)
    blocks = rng.integers(0, 256, (rows, format.row_bytes(width)), np.uint8).view(format.dtype)
    scales = _scales(format)
    for field, one in scales.items():
        blocks[field] = one
    size = float(np.sqrt(np.square(format.dequantize(blocks[:1]), dtype=np.float64).mean()))
    for field, one in scales.items():
        if format.dtype[field].kind == "f":
            blocks[field] = one * _WEIGHT / size
    return blocks


def _scales(format: Format) -> dict[str, float]:
    """What the scales of a block are to one another. The mean is zero, or all activations are nearly one number."""
    coding = format.coding
    if coding is None:
        return {field: 1.0 for field in format.dtype.names or () if format.dtype[field].kind == "f"}
    exponent = format.dtype[coding.scale].kind != "f"
    scales = {coding.scale: coding.power - 8.0 if exponent else 1.0}  # 2^-8 is about as large
    return scales | {field: one for field, one in ((coding.minus, coding.mean), (coding.plus, -coding.mean)) if field}


def _tensors(path: Path, s: Shape, metadata: Metadata, format: Format) -> Iterator[gguf.TensorInfo]:
    """What the family asks for: small ones in F32, matrices in `format`, or what takes its place in a quantizer."""

    def has(name: str) -> bool:
        if name == "output.weight":
            return not s.tied
        suits = re.search(s.biased, name) if name.endswith(".bias") else name.endswith(".weight")
        return bool(suits) and not name.startswith("rope_")

    rows = (Row(r"_exps\.weight$", s.expert_format),) if s.expert_format else ()
    recipe, model = Recipe(0, format.name), Model(s.layers, int(s.keys.get("expert_count", 0)))
    for name, size in network.shapes(str(path), dict(metadata), s.vocabulary, has).items():
        yield gguf.TensorInfo(name, size, choose(recipe, model, name, size, rows).format)


def _metadata(name: str, s: Shape, layers: int) -> Metadata:
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    pieces += [f"▁{i}" for i in range(s.vocabulary - len(pieces))]
    kinds = np.array([2, 3, 3] + [6] * 256 + [1] * (s.vocabulary - 259), np.int32)
    keys = {**s.keys, "block_count": layers}
    metadata: dict[str, Writable] = {
        "general.architecture": s.architecture,
        "general.name": f"{name}, {layers} layers, random weights",
        **{f"{s.architecture}.{k}": np.float32(v) if isinstance(v, float) else v for k, v in keys.items()},
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
    return metadata
