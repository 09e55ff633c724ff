"""Checkpoint folders as others write them, from the networks of random_checkpoints: every layout that is read."""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_checkpoints import CONTEXT, LLAMA3, Spec, weights
from sentencepiece import sentencepiece_model_pb2 as protobuf

from quant import FORMATS
from quant.format import Floats

KINDS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
PIECES = ["▁", "a", "b", "▁a", "ab", "▁ab"]
TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


def rounded(values: Floats, kind: str) -> Floats:
    """What is left of `values` in a checkpoint of this kind."""
    row = FORMATS[KINDS[kind]]
    assert row.quantize
    return row.dequantize(row.quantize(values, None))


def safetensors(path: Path, tensors: Mapping[str, NDArray[Any]], kind: str = "BF16") -> None:
    """A safetensors file, written by its specification; bytes are written as bytes."""
    row, header, parts, at = FORMATS[KINDS[kind]], {"__metadata__": {"format": "pt"}}, [], 0
    assert row.quantize
    entries: dict[str, Any] = dict(header)
    for name, values in tensors.items():
        plain = values.dtype == np.uint8
        raw = values.tobytes() if plain else row.quantize(np.ascontiguousarray(values), None).tobytes()
        shown = "U8" if plain else kind
        entries[name] = {"dtype": shown, "shape": values.shape, "data_offsets": [at, at + len(raw)]}
        parts.append(raw)
        at += len(raw)
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def hugging_face(
    folder: Path, spec: Spec, kind: str = "BF16", *, form: int = 4, shards: int = 1, merged: bool = False
) -> Path:
    """config.json as transformers 4 or 5 writes it, safetensors in one file or several, a tokenizer."""
    folder.mkdir(parents=True)
    tensors = merge_experts(spec, weights(spec)) if merged else weights(spec)
    if shards == 1:
        safetensors(folder / "model.safetensors", tensors, kind)
    else:
        write_shards(folder, tensors, kind, shards)
    (folder / "config.json").write_text(json.dumps(config(spec, form)))
    tokenizer(folder)
    return folder


def write_shards(folder: Path, tensors: Mapping[str, Floats], kind: str, shards: int) -> None:
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard::shards]
        safetensors(folder / file, {name: tensors[name] for name in mine}, kind)
        weight_map |= dict.fromkeys(mine, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def merge_experts(spec: Spec, tensors: dict[str, Floats]) -> dict[str, Floats]:
    """The names and shapes of transformers 5 in memory."""
    for layer in range(spec.layers):
        old, new = f"model.layers.{layer}.block_sparse_moe.", f"model.layers.{layer}.mlp."
        gate, down, up = (
            np.stack([tensors.pop(f"{old}experts.{e}.{w}.weight") for e in range(spec.experts)])
            for w in ("w1", "w2", "w3")
        )
        tensors[new + "gate.weight"] = tensors.pop(old + "gate.weight")
        tensors[new + "experts.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        tensors[new + "experts.down_proj"] = down
    return tensors


def config(spec: Spec, form: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model_type": "mixtral" if spec.experts else "llama",
        "hidden_act": "silu",
        "hidden_size": spec.width,
        "intermediate_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_dim,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "tie_word_embeddings": spec.tied,
        "vocab_size": spec.vocabulary,
        "bos_token_id": 1,
        "eos_token_id": [2, 5],
    }
    if spec.experts:
        values |= {"num_local_experts": spec.experts, "num_experts_per_tok": spec.active}
    scaling: dict[str, Any] = {"rope_type": "default"}
    if spec.linear:
        scaling = {"rope_type": "linear", "factor": spec.linear}
    if spec.llama3:
        scaling = {"rope_type": "llama3", **LLAMA3}
    if form == 5:
        return values | {"rope_parameters": {"rope_theta": spec.rope_base, **scaling}, "dtype": "bfloat16"}
    return values | {"rope_theta": spec.rope_base, "rope_scaling": scaling if len(scaling) > 1 else None}


def tokenizer(folder: Path) -> None:
    """A SentencePiece model of a few pieces, one token added later, and a chat template."""
    model: Any = protobuf.ModelProto()  # type: ignore[attr-defined]
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = False
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    for text, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=text, score=0, type=kind)
    for rank, text in enumerate(PIECES):
        model.pieces.add(piece=text, score=-rank, type=1)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    added = {str(len(PIECES) + 3): {"content": "<|im_end|>", "special": True}}
    settings = {
        "added_tokens_decoder": added,
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def mistral(folder: Path, spec: Spec, kind: str = "BF16", *, pt: bool = False, first: bool = False) -> Path:
    """params.json and one consolidated file, or several; queries and keys are interleaved."""
    folder.mkdir(parents=True)
    tensors = {mistral_name(name): values for name, values in weights(spec).items()}
    for name in tensors:
        for projection, heads in (("wq", spec.heads), ("wk", spec.kv_heads)):
            if name.endswith(f"{projection}.weight"):
                tensors[name] = interleaved(tensors[name], heads)
    if first:
        tensors = first_release(spec, tensors)
    if pt:
        names = list(tensors)
        for file in range(2):
            write_pt(folder / f"consolidated.0{file}.pt", {name: tensors[name] for name in names[file::2]})
    else:
        safetensors(folder / "consolidated.safetensors", tensors, kind)
    params: dict[str, Any] = {
        "dim": spec.width,
        "n_layers": spec.layers,
        "head_dim": spec.head_dim,
        "hidden_dim": spec.hidden,
        "n_heads": spec.heads,
        "n_kv_heads": spec.kv_heads,
        "norm_eps": 1e-5,
        "vocab_size": spec.vocabulary,
        "rope_theta": spec.rope_base,
        "max_seq_len": CONTEXT,
    }
    if spec.experts:
        params["moe"] = {"num_experts": spec.experts, "num_experts_per_tok": spec.active}
    (folder / "params.json").write_text(json.dumps(params))
    tokenizer(folder)
    return folder


def first_release(spec: Spec, tensors: dict[str, Floats]) -> dict[str, Floats]:
    """The experts of a layer in one tensor each, as in the first files of Mixtral 8x7B."""
    for layer in range(spec.layers):
        old, new = f"layers.{layer}.feed_forward.", f"layers.{layer}.block_sparse_moe."
        tensors[new + "gate.weight"] = tensors.pop(old + "gate.weight")
        for w in ("w1", "w2", "w3"):
            experts = [tensors.pop(f"{old}experts.{e}.{w}.weight") for e in range(spec.experts)]
            tensors[new + w] = np.concatenate([each.T if w == "w2" else each for each in experts])
    return tensors


def mistral_name(name: str) -> str:
    for old, new in (
        ("model.embed_tokens", "tok_embeddings"),
        ("lm_head", "output"),
        ("model.", ""),
        ("self_attn.", "attention."),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("block_sparse_moe", "feed_forward"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("mlp.down_proj", "feed_forward.w2"),
        *((f"{letter}_proj", f"w{letter}") for letter in "qkvo"),
    ):
        name = name.replace(old, new)
    return name


def interleaved(values: Floats, heads: int) -> Floats:
    """Rows 0, d/2, 1, d/2 + 1, ... of each head of d, one after the other."""
    d = len(values) // heads
    order = [head * d + i + half for head in range(heads) for i in range(d // 2) for half in (0, d // 2)]
    return values[order]


def write_pt(path: Path, tensors: Mapping[str, Floats], code: bytes = b"") -> None:
    """What torch.save writes for a state dict, in pickle's own instructions; `code` goes in front of the tensors."""
    row = FORMATS["bf16"]
    assert row.quantize
    items = b""
    with zipfile.ZipFile(path, "w") as archive:
        for key, (name, values) in enumerate(tensors.items()):
            archive.writestr(f"consolidated/data/{key}", row.quantize(values, None).tobytes())
            strides = [int(np.prod(values.shape[i + 1 :])) for i in range(values.ndim)]
            storage = (
                b"(" + text("storage") + b"ctorch\nBFloat16Storage\n" + text(str(key)) + text("cpu")
            ) + number(values.size) + b"tQ"  # fmt: skip
            shape, steps = (b"(" + b"".join(map(number, sizes)) + b"t" for sizes in (values.shape, strides))
            call = storage + number(0) + shape + steps + b"\x89" + b"ccollections\nOrderedDict\n)R"
            items += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + call + b"tR"
        archive.writestr(
            "consolidated/data.pkl", b"\x80\x02" + code + b"ccollections\nOrderedDict\n)R(" + items + b"u."
        )


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
