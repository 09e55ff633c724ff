"""Checkpoints that are damaged or of another kind: one line that names the file and the tensor, before any work."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_folders
import numpy as np
import pytest
import random_checkpoints
import small_models
from random_checkpoints import SPECS, weights

from localmix import convert, gguf
from localmix.errors import FileFormatError, LocalmixError, UnsupportedError
from quant.recipe import RECIPES

MIXTRAL = SPECS[0]
GATE = "model.layers.1.block_sparse_moe.experts.2.w1.weight"


def folder_of(path: Path, change: Callable[[dict[str, np.ndarray]], None], **config: Any) -> Path:
    """A checkpoint whose tensors went through `change`."""
    folder = checkpoint_folders.hugging_face(path / "model", MIXTRAL)
    tensors = weights(MIXTRAL)
    change(tensors)
    checkpoint_folders.safetensors(folder / "model.safetensors", tensors)
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def unchanged(tensors: dict[str, np.ndarray]) -> None:
    pass


def test_missing_tensor(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=f"tensor {GATE} is missing"):
        convert.open_checkpoint(folder_of(tmp_path, lambda tensors: tensors.pop(GATE)))


def test_unknown_tensor(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"1 tensors have no place .* the first is model.layers.0.self_attn.q_proj.bias"
    ):
        convert.open_checkpoint(
            folder_of(tmp_path, lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": np.ones(32, np.float32)}))
        )


def test_layers_that_the_config_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"have no place .* the first is model\.layers\.1\."):
        convert.open_checkpoint(folder_of(tmp_path, unchanged, num_hidden_layers=1))


def test_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"ffn_gate_exps.*the configuration contradicts the tensors"):
        convert.open_checkpoint(
            folder_of(tmp_path, lambda t: t.update({k: v[:40] for k, v in t.items() if ".w1." in k}))
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_local_experts": 5}, "ffn_gate_inp.weight would have 4 rows of 32, expected 5 of 32"),
        ({"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight is missing"),
        ({"head_dim": 4}, r"model\.safetensors: .*self_attn.q_proj.weight has 32 rows, expected 4 heads of 4"),
        ({"num_experts_per_tok": 5}, r"config\.json: 5 experts per token, but there are only 4"),
        ({"num_hidden_layers": 2**30}, "model.layers.2.input_layernorm.weight is missing"),
        ({"num_hidden_layers": 10**30}, "expected a positive whole number"),
        ({"vocab_size": 2**30}, "token_embd.weight would have 64 rows"),
        ({"rms_norm_eps": 10**400}, "expected a positive number"),
        ({"rope_theta": float("inf")}, "expected a positive number"),
        ({"hidden_size": None}, "hidden_size is missing, expected a positive whole number"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small', expected a positive number"),
        ({"vocab_size": 5}, "token_embd.weight would have 64 rows of 32, expected 5 of 32"),
    ],
)
def test_contradicting_config(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        convert.open_checkpoint(folder_of(tmp_path, unchanged, **config))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', expected one of mixtral, llama, mistral, qwen2"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', expected 'silu'"),
        ({"attention_bias": True}, "attention_bias = True is unknown"),
        ({"mlp_bias": True}, "mlp_bias is true, expected false"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0 is unknown"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope_type is 'dynamic'"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0, "low_freq_factor": 2.0}}, "low_freq_factor = 2.0 is"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 2.0}}, "attention_factor is not the 1.1"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "'linear_attention' for layer 1, expected 'full_att"),
        ({"model_type": "qwen3_moe"}, "norm_topk_prob is missing, which means false, expected true"),
        ({"model_type": "qwen3_moe", "norm_topk_prob": True, "mlp_only_layers": [0]}, r"mlp_only_layers is \[0\]"),
        ({"model_type": "gpt_oss", "swiglu_limit": 9.0}, "swiglu_limit is 9.0, expected 7.0"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is not 1"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        convert.open_checkpoint(folder_of(tmp_path, unchanged, **config))


def test_sliding_window_shortens_the_context(tmp_path: Path) -> None:
    checkpoint = convert.open_checkpoint(folder_of(tmp_path, unchanged, sliding_window=100))
    assert checkpoint.metadata["llama.context_length"] == 100
    assert checkpoint.notes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> None:
        tensors[GATE][3, 7] = value

    plan = convert.make_plan(convert.open_checkpoint(folder_of(tmp_path, spoil)), RECIPES["Q8_0"])
    row = 2 * MIXTRAL.hidden + 3
    place = rf"model\.safetensors: tensor {GATE}: weight \[{row}, 7\] of blk\.1\.ffn_gate_exps\.weight is"
    with pytest.raises(FileFormatError, match=place):
        convert.check(plan, threads=2)
    with pytest.raises(FileFormatError, match=place):
        convert.write(plan, tmp_path / "out.gguf", threads=2)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(("recipe", "refused"), [("F16", True), ("Q4_0", True), ("BF16", False)])
def test_weights_that_a_format_cannot_hold(tmp_path: Path, recipe: str, refused: bool) -> None:
    """They would become infinite, or make the scale of their block so."""

    def enlarge(tensors: dict[str, np.ndarray]) -> None:
        tensors[GATE][3, 7] = -1e6

    plan = convert.make_plan(convert.open_checkpoint(folder_of(tmp_path, enlarge)), RECIPES[recipe])
    if not refused:
        convert.check(plan, threads=1)
        return
    with pytest.raises(FileFormatError, match=rf"tensor {GATE}: weight .* is -999424.0, expected a number up to 65504"):
        convert.check(plan, threads=1)


def test_more_tokens_than_the_embedding_has(tmp_path: Path) -> None:
    def shorten(tensors: dict[str, np.ndarray]) -> None:
        tensors.update({k: v[:5] for k, v in tensors.items() if len(v) == 64 and v.ndim == 2})

    with pytest.raises(FileFormatError, match=r"the tokenizer has 10 tokens, config\.json says vocab_size 5"):
        convert.open_checkpoint(folder_of(tmp_path, shorten, vocab_size=5))


def test_mistrals_ways_to_reach_further_are_refused(tmp_path: Path) -> None:
    folder = checkpoint_folders.mistral(tmp_path / "model", MIXTRAL)
    params = json.loads((folder / "params.json").read_text()) | {"yarn": {"factor": 16.0}}
    (folder / "params.json").write_text(json.dumps(params))
    with pytest.raises(UnsupportedError, match=r"params\.json: yarn is not supported"):
        convert.open_checkpoint(folder)


def test_shards_that_cannot_be_read(tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL, shards=3)
    shard = folder / "model-00002-of-00003.safetensors"
    shard.unlink()
    shard.symlink_to("nowhere")  # as the hub's cache has them, when a download was cut off
    with pytest.raises(FileFormatError, match="1 of its files are missing"):
        convert.open_checkpoint(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(FileFormatError, match=r"model-00002-of-00003\.safetensors: cannot be read: No such file"):
        convert.open_checkpoint(folder)
    shard.unlink()
    shard.mkdir()
    with pytest.raises(FileFormatError, match=r"model-00002-of-00003\.safetensors: cannot be read: Is a directory"):
        convert.open_checkpoint(folder)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]},
    ],
)
def test_entries_that_describe_no_tensor(tmp_path: Path, entry: Any) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    text = json.dumps({"model.norm.weight": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(FileFormatError, match=r"tensor model\.norm\.weight: found .*, expected dtype, shape"):
        convert.open_checkpoint(folder)


def test_missing_shard_and_false_index(tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL, shards=3)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lm_head.weight"] = "model-00002-of-00003.safetensors"
    content["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match="which does not hold it"):
        convert.open_checkpoint(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileFormatError, match=r"1 of its files are missing, the first is model-00002-of-00003"):
        convert.open_checkpoint(folder)


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_truncated_safetensors(tmp_path: Path, size: int) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FileFormatError, match=r"model\.safetensors"):
        convert.open_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"weight_map": 3}'])
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    (folder / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"index\.json: "):
        convert.open_checkpoint(folder)


class Harm:
    """Runs a command when it is unpickled by whoever trusts it."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("exit 1",)


def test_pickle_with_code_is_refused(tmp_path: Path) -> None:
    folder = checkpoint_folders.mistral(tmp_path / "model", MIXTRAL, pt=True)
    code = pickle.dumps(Harm(), protocol=2)[2:-1] + b"0"  # without the frame of a whole pickle, and dropped again
    checkpoint_folders.write_pt(folder / "consolidated.00.pt", {}, code)
    with pytest.raises(FileFormatError, match=r"asks to run posix\.system"):
        convert.open_checkpoint(folder)


@pytest.mark.parametrize("code", [b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"Pno reference\n", b"0"])
def test_a_damaged_pickle(tmp_path: Path, code: bytes) -> None:
    """A size that no memory has, a reference that is none, too little on the stack."""
    folder = checkpoint_folders.mistral(tmp_path / "model", MIXTRAL, pt=True)
    checkpoint_folders.write_pt(folder / "consolidated.00.pt", {}, code)
    with pytest.raises(FileFormatError, match=r"consolidated\.00\.pt: (its pickle is|found the reference)"):
        convert.open_checkpoint(folder)


def test_an_archive_of_another_version(tmp_path: Path) -> None:
    path = checkpoint_folders.mistral(tmp_path / "model", MIXTRAL, pt=True) / "consolidated.00.pt"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 6] = 200  # the version needed to extract the first entry
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"not a PyTorch checkpoint .*: zip file version 20\.0"):
        convert.open_checkpoint(path.parent)


def test_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"not a checkpoint: expected config.json \(Hugging Face\) or"):
        convert.open_checkpoint(tmp_path)


def test_quantized_gguf_needs_consent(tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    out = tmp_path / "q.gguf"
    convert.write(convert.make_plan(convert.open_checkpoint(folder), RECIPES["Q8_0"]), out, threads=1)
    with pytest.raises(LocalmixError, match="--allow-requantize"):
        convert.open_checkpoint(out)


def test_gguf_of_another_architecture_or_shape(tmp_path: Path) -> None:
    """Found in the header, as with the other sources."""
    path = random_checkpoints.to_gguf(SPECS[0], tmp_path / "model.gguf")
    file = gguf.open(path)
    tensors = {tensor.name: (tensor.format, np.array(tensor.data)) for tensor in file.tensors.values()}

    def written(metadata: dict[str, Any], tensors: dict[str, Any]) -> Path:
        return small_models.write(tmp_path / "other.gguf", dict(file.typed_metadata) | metadata, tensors)

    with pytest.raises(UnsupportedError, match=r"general\.architecture is 'gpt2'"):
        convert.open_checkpoint(written({"general.architecture": "gpt2"}, tensors))
    with pytest.raises(FileFormatError, match=r"other\.gguf: .*attn_q"):
        convert.open_checkpoint(written({"llama.attention.head_count": 8}, tensors))
    del tensors["blk.1.attn_k.weight"]
    with pytest.raises(FileFormatError, match=r"other\.gguf: .*blk\.1\.attn_k\.weight"):
        convert.open_checkpoint(written({}, tensors))
