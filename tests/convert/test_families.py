"""Checkpoints of every family, converted, give the logits that transformers gives for them, on every backend."""

import json
from pathlib import Path
from typing import Any

import checkpoint_folders
import family_checkpoints
import numpy as np
import pytest
from family_checkpoints import IDS, KEPT, KINDS
from llama_cpp_rounding import as_llama_cpp, divergence, log_probabilities, run
from random_networks import distance
from small_models import DATA

import localmix
from localmix import convert, gguf
from localmix.errors import FileFormatError, LocalmixError, UnsupportedError
from quant.recipe import RECIPES

BOUND = {"reference": 1e-4, "numba": 1e-4, "mlx": 2e-3}
ORACLE, QUANTIZED = np.load(DATA / "checkpoints.npz"), np.load(DATA / "quantized_families.npz")


def converted(folder: Path, recipe: str = "F32") -> Path:
    out = folder.with_suffix(f".{recipe}.gguf")
    if not out.exists():
        convert.write(convert.make_plan(convert.open_checkpoint(folder), RECIPES[recipe]), out, threads=1)
    return out


@pytest.fixture(params=KINDS)
def checkpoint(request: pytest.FixtureRequest, folder: Path) -> Path:
    """The folder of each in turn."""
    one = folder / request.param
    return one if one.exists() else family_checkpoints.write(one, request.param)


def test_logits_are_those_of_transformers(checkpoint: Path, backend: str) -> None:
    model = localmix.load(converted(checkpoint), backend, kv="f32")
    assert distance(model.engine.logits(IDS)[-KEPT:], ORACLE[checkpoint.name]) < BOUND[backend]


@pytest.mark.parametrize("kind", family_checkpoints.QUANTIZED)
def test_quantized_files_give_the_distribution_of_llama_cpp(folder: Path, kind: str) -> None:
    """At every position, once activations are rounded as llama.cpp rounds them: its 8 bits alone cost up to 1e-2 here.

    The backends, which round less, agree with each other instead.
    """
    source = folder / kind
    if not source.exists():
        family_checkpoints.write(source, kind)
    path = converted(source, family_checkpoints.QUANTIZED[kind])
    reference, numba = (localmix.load(path, name, kv="f32") for name in ("reference", "numba"))
    theirs = log_probabilities(QUANTIZED[kind])
    assert divergence(theirs, run(as_llama_cpp(reference), IDS)[0]).mean() < 1e-3
    assert divergence(*(run(model.engine, IDS)[0] for model in (reference, numba))).mean() < 1e-3


def test_mxfp4_is_kept_whatever_the_recipe(folder: Path) -> None:
    """The bytes of the checkpoint in GGUF's order, also from a GGUF file to another."""
    source = folder / "kept"
    family_checkpoints.write(source, "gpt_oss_mxfp4")
    raw = family_checkpoints.weights("gpt_oss_mxfp4")
    blocks, scales = (raw[f"model.layers.1.mlp.experts.gate_up_proj_{one}"][2] for one in ("blocks", "scales"))
    codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:2], 32)  # (2 F, D / 32, 32)
    first_file, again = converted(source, "Q4_K_M"), folder / "again.gguf"
    plan = convert.make_plan(convert.open_checkpoint(first_file, allow_requantize=True), RECIPES["Q2_K"])
    convert.write(plan, again, threads=1)
    for path in (first_file, again):
        tensors = gguf.open(path).tensors
        assert {t.format.name for name, t in tensors.items() if name.endswith("_exps.weight")} == {"mxfp4"}
        for first, name in enumerate(("gate", "up")):
            found = tensors[f"blk.1.ffn_{name}_exps.weight"].data[2]  # (F, D / 32)
            assert np.array_equal(found["e"], scales[first::2])
            assert np.array_equal(np.concatenate([found["qs"] & 15, found["qs"] >> 4], -1), codes[first::2])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_small_stays_as_it_is(folder: Path, kind: str) -> None:
    """Routers, norms, biases, sinks; matrices get formats that their rows divide into."""
    source = folder / f"small-{kind}"
    file = gguf.open(converted(family_checkpoints.write(source, kind), "Q4_K_M"))
    for name, tensor in file.tensors.items():
        small = len(tensor.shape) == 1 or "ffn_gate_inp" in name or name.endswith(".bias")
        assert (tensor.format.name == "f32") == small, name


@pytest.mark.parametrize(
    ("kind", "change", "error", "message"),
    [
        ("olmoe", {"clip_qkv": 8.0}, UnsupportedError, "clip_qkv = 8.0 is unknown"),
        ("qwen2", {"rope_parameters": {"rope_type": "default", "mrope_section": [4]}}, UnsupportedError,
         r"mrope_section = \[4\] is unknown"),
        ("qwen2_moe", {"mlp_only_layers": [1]}, UnsupportedError, r"mlp_only_layers is \[1\], expected \[\]"),
        ("qwen3_moe", {"norm_topk_prob": False}, UnsupportedError, "norm_topk_prob is false, expected true"),
        ("qwen3_moe", {"num_experts": 7}, FileFormatError, "ffn_gate_inp.weight would have 6 rows of 64, expected 7"),
        ("qwen3_moe_merged", {"moe_intermediate_size": 16}, FileFormatError, "gate_up_proj: has 384 rows of 64, exp"),
        ("granitemoe", {"intermediate_size": 48}, FileFormatError, "input_linear.weight: has 384 rows of 64, exp"),
        ("gpt_oss", {"num_local_experts": 4}, FileFormatError, "would have 6 rows of 64, expected 4"),
        ("gpt_oss", {"experts_per_token": 2}, FileFormatError, "experts_per_token contradict each other"),
        ("gpt_oss", {"layer_types": ["full_attention"] * 3}, UnsupportedError, "'full_attention' for layer 0, expect"),
        ("gpt_oss", {"intermediate_size": 64}, FileFormatError, "has 384 rows of 64, expected 384 of 128"),
        ("gpt_oss_mxfp4", {"hidden_size": 96}, FileFormatError, "would have"),
        ("qwen2", {"qkv_bias": False}, UnsupportedError, "9 tensors have no place"),
        ("qwen3", {"attention_bias": True}, FileFormatError, "q_proj.bias is missing"),
    ],
)  # fmt: skip
def test_what_contradicts_is_refused(
    tmp_path: Path, kind: str, change: dict[str, Any], error: type[LocalmixError], message: str
) -> None:
    source = family_checkpoints.write(tmp_path / kind, kind)
    (source / "config.json").write_text(json.dumps(family_checkpoints.config(kind) | change))
    with pytest.raises(error, match=message):
        convert.open_checkpoint(source)


def test_bytes_are_no_weights(tmp_path: Path) -> None:
    """A tensor of bytes is read where blocks are expected, and nowhere else."""
    source = family_checkpoints.write(tmp_path / "m", "qwen3")
    tensors = family_checkpoints.weights("qwen3")
    tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"].astype(np.uint8)
    checkpoint_folders.safetensors(source / "model.safetensors", tensors, "F32")
    with pytest.raises(UnsupportedError, match=r"up_proj\.weight: weights are U8, expected one of F32, F16"):
        convert.open_checkpoint(source)
