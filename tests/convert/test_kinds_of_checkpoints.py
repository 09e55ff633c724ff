"""Checkpoints as people have them: of 8 bits or 64, with buffers, other names, other people's quantization."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkpoint_folders
import numpy as np
import pytest
from numpy.typing import NDArray
from random_checkpoints import SPECS, weights

from localmix import convert, gguf
from localmix.convert import foreign
from localmix.errors import FileFormatError, UnsupportedError
from quant.recipe import RECIPES

MIXTRAL = SPECS[0]
DTYPES = {"f4": "F32", "f8": "F64", "u1": "F8_E4M3", "i8": "I64", "i4": "I32", "u4": "U32"}
ATTENTION = "model.layers.0.self_attn."


def write(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """A safetensors file; bytes stand for floats of 8 bits."""
    entries, at = {}, 0
    for name, values in tensors.items():
        kind = DTYPES[values.dtype.str[1:]]
        entries[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(entries).encode()
    data = b"".join(values.tobytes() for values in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def folder_of(path: Path, tensors: Mapping[str, NDArray[Any]], **config: Any) -> Path:
    folder = checkpoint_folders.hugging_face(path / "model", MIXTRAL)
    write(folder / "model.safetensors", tensors)
    values = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def converted(folder: Path) -> dict[str, NDArray[np.float32]]:
    out = folder.with_suffix(".gguf")
    convert.write(convert.make_plan(convert.open_checkpoint(folder), RECIPES["F32"]), out, threads=1)
    return {name: np.array(tensor.data) for name, tensor in gguf.open(out).tensors.items()}


def same(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


def test_numbers_of_eight_bits() -> None:
    """Ends, smallest steps and what is no number, as the formats' paper lists them."""
    decode = foreign.F8_E4M3.dequantize
    codes = np.array([0x00, 0x01, 0x07, 0x08, 0x38, 0x7E, 0xFE, 0xB8], np.uint8)
    assert decode(codes).tolist() == [0, 2**-9, 7 * 2**-9, 2**-6, 1, 448, -448, -1]
    assert np.isnan(decode(np.array([0x7F, 0xFF], np.uint8))).all()
    decode = foreign.F8_E5M2.dequantize
    assert decode(np.array([0x01, 0x3C, 0x7B, 0xFB], np.uint8)).tolist() == [2**-16, 1, 57344, -57344]
    assert np.isinf(decode(np.array([0x7C, 0xFC], np.uint8))).all()
    every = np.arange(256, dtype=np.uint8)
    assert np.all(np.diff(foreign.F8_E4M3.dequantize(every[:127])) > 0)


def eight_bits(suffix: str, shape: str) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Tensors of 8 bits with scales, and the products of the two."""
    rng = np.random.default_rng(0)
    stored: dict[str, NDArray[Any]] = {}
    plain: dict[str, NDArray[Any]] = {}
    for name, values in weights(MIXTRAL).items():
        if values.ndim < 2 or "embed" in name or "lm_head" in name or ".gate." in name:
            stored[name] = plain[name] = values
            continue
        rows, width = values.shape
        codes = rng.integers(0, 0x78, values.shape, dtype=np.uint8)
        grid = {"tensor": (1, 1), "row": (rows, 1), "block": (-(-rows // 16), -(-width // 16))}[shape]
        scales = rng.uniform(0.5, 2, grid).astype(np.float32)
        times = (rows if shape == "tensor" else 1 if shape == "row" else 16), (16 if shape == "block" else width)
        spread = np.repeat(np.repeat(scales, times[0], 0), times[1], 1)[:rows, :width]
        stored[name] = codes
        stored[name + suffix] = scales.reshape(()) if shape == "tensor" else scales
        stored[name.removesuffix("weight") + "input_scale"] = np.ones(1, np.float32)
        plain[name] = foreign.F8_E4M3.dequantize(codes) * spread
    return stored, plain


@pytest.mark.parametrize("shape", ["tensor", "row", "block"])
@pytest.mark.parametrize("suffix", ["_scale_inv", "_scale"])
def test_weights_of_eight_bits_times_their_scales(tmp_path: Path, suffix: str, shape: str) -> None:
    stored, plain = eight_bits(suffix, shape)
    quantization = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    found = converted(folder_of(tmp_path / "a", stored, quantization_config=quantization))
    same(found, converted(folder_of(tmp_path / "b", plain)))


def test_scales_that_do_not_fit_or_are_missing(tmp_path: Path) -> None:
    stored, _ = eight_bits("_scale_inv", "block")
    name = ATTENTION + "q_proj.weight_scale_inv"
    quantization = {"quant_method": "fp8", "weight_block_size": [32, 16]}
    with pytest.raises(FileFormatError, match=r"_scale_inv: \(.*\) scales for weights of .* expected one, one per row"):
        convert.open_checkpoint(folder_of(tmp_path / "a", stored, quantization_config=quantization))
    del stored[name]
    quantization["weight_block_size"] = [16, 16]
    with pytest.raises(FileFormatError, match=f"q_proj.weight: has 8 bits and no scale, expected {name}"):
        convert.open_checkpoint(folder_of(tmp_path / "b", stored, quantization_config=quantization))


def test_experts_of_eight_bits_in_one_tensor(tmp_path: Path) -> None:
    """A scale belongs to the rows of one expert, whose number need not be a multiple of a block's."""
    plain = checkpoint_folders.merge_experts(MIXTRAL, weights(MIXTRAL))
    stored: dict[str, NDArray[Any]] = dict(plain)
    rng = np.random.default_rng(1)
    for name in [name for name in plain if ".experts." in name]:
        codes = rng.integers(0, 0x78, plain[name].shape, dtype=np.uint8)
        experts, rows, width = codes.shape
        scales = rng.uniform(0.5, 2, (experts, -(-rows // 20), -(-width // 20))).astype(np.float32)
        stored[name], stored[name + "_scale_inv"] = codes, scales
        spread = np.repeat(np.repeat(scales, 20, 1), 20, 2)[:, :rows, :width]
        plain[name] = foreign.F8_E4M3.dequantize(codes) * spread
    quantization = {"quant_method": "fp8", "weight_block_size": [20, 20]}
    found = converted(folder_of(tmp_path / "a", stored, quantization_config=quantization))
    same(found, converted(folder_of(tmp_path / "b", plain)))


def test_eight_bits_without_scales_are_said(tmp_path: Path) -> None:
    tensors = weights(MIXTRAL) | {ATTENTION + "q_proj.weight": np.full((32, 32), 0x38, np.uint8)}
    checkpoint = convert.open_checkpoint(folder_of(tmp_path, tensors))
    assert "1 tensors of 8 bits have no scales" in "".join(checkpoint.notes)


def test_doubles(tmp_path: Path) -> None:
    tensors = weights(MIXTRAL)
    found = converted(folder_of(tmp_path / "a", {name: values.astype(np.float64) for name, values in tensors.items()}))
    same(found, converted(folder_of(tmp_path / "b", tensors)))
    with pytest.raises(FileFormatError, match=r"weight \[0, 0\] of .* is inf"):
        converted(folder_of(tmp_path / "c", tensors | {"lm_head.weight": np.full((64, 32), 1e300)}))


def test_buffers_that_hold_no_weights(tmp_path: Path) -> None:
    buffers = {
        "model.embed_positions.position_ids": np.arange(8)[None],
        ATTENTION + "rotary_emb.inv_freq": np.ones(4, np.float32),
        ATTENTION + "rotary_emb.cos_cached": np.ones(4, np.float32),
        ATTENTION + "masked_bias": np.array(-1e4, np.float32),
        "model.rotary_emb.inv_freq": np.ones(4, np.float32),
    }
    found = converted(folder_of(tmp_path / "a", weights(MIXTRAL) | buffers))
    same(found, converted(folder_of(tmp_path / "b", weights(MIXTRAL))))


@pytest.mark.parametrize("prefix", ["", "language_model.model.", "model.language_model."])
def test_other_prefixes(tmp_path: Path, prefix: str) -> None:
    tensors = {
        prefix + name.removeprefix("model.") if name.startswith("model.") else name: values
        for name, values in weights(MIXTRAL).items()
    }
    same(converted(folder_of(tmp_path / "a", tensors)), converted(folder_of(tmp_path / "b", weights(MIXTRAL))))


def test_weights_that_pytorch_saved(tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    expected = converted(folder)
    (folder / "model.safetensors").unlink()
    checkpoint_folders.write_pt(folder / "pytorch_model.bin", weights(MIXTRAL))
    same(converted(folder), expected)


@pytest.mark.parametrize(
    ("quantization", "scheme"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, r"GPTQ \(4 bits\)"),
        ({"quant_method": "awq", "bits": 4}, r"AWQ \(4 bits\)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, r"bitsandbytes \(4 bits\)"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"quant_method": "hqq"}, "hqq"),
    ],
)
def test_schemes_that_cannot_be_read(tmp_path: Path, quantization: dict[str, Any], scheme: str) -> None:
    folder = folder_of(tmp_path, {}, quantization_config=quantization)
    with pytest.raises(UnsupportedError, match=rf"config\.json: .* quantized with {scheme}: take the repository"):
        convert.open_checkpoint(folder)


def test_mlx_folders(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"quantized with MLX \(4 bits\): take"):
        convert.open_checkpoint(folder_of(tmp_path, {}, quantization={"group_size": 64, "bits": 4}))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        (ATTENTION + "q_proj.qweight", "GPTQ or AWQ"),
        (ATTENTION + "q_proj.weight.absmax", "bitsandbytes"),
        (ATTENTION + "q_proj.weight_packed", "compressed-tensors"),
        (ATTENTION + "q_proj.biases", "MLX"),
    ],
)
def test_schemes_that_only_the_tensors_tell(tmp_path: Path, name: str, scheme: str) -> None:
    folder = folder_of(tmp_path, weights(MIXTRAL) | {name: np.ones((2, 2), np.int32)})
    with pytest.raises(UnsupportedError, match=rf"quantized with {scheme}: .*found the tensor {name}"):
        convert.open_checkpoint(folder)


def test_adapters(tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    with pytest.raises(UnsupportedError, match="is a LoRA adapter, not a model: merge it"):
        convert.open_checkpoint(folder_of(tmp_path, {name: np.ones((2, 2), np.float32)}))
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedError, match="is a LoRA adapter, not a model: merge it"):
        convert.open_checkpoint(folder)
