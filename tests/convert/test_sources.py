"""Checkpoints of every layout become the GGUF that is built by hand from the same weights."""

from pathlib import Path
from typing import Any

import checkpoint_folders
import numpy as np
import pytest
import random_checkpoints
from random_checkpoints import SPECS, Spec

from localmix import convert, gguf, tokenizer
from localmix.convert.stream import chunks
from quant.recipe import RECIPES

BY_NAME = {spec.name: spec for spec in SPECS}
MIXTRAL, DENSE = BY_NAME["mixtral"], BY_NAME["dense"]


def converted(source: Path, recipe: str = "F32", **options: Any) -> gguf.File:
    out = source.with_suffix(f".{recipe}.gguf")
    plan = convert.make_plan(convert.open_checkpoint(source, **options), RECIPES[recipe])
    convert.write(plan, out, threads=2)
    return gguf.open(out)


def assert_same_tensors(found: gguf.File, expected: gguf.File, kind: str = "F32") -> None:
    assert set(found.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        values = tensor.data if name == "rope_freqs.weight" else checkpoint_folders.rounded(tensor.data, kind)
        assert found.tensors[name].shape == tensor.shape
        assert np.array_equal(found.tensors[name].data, values), name


def assert_same_arithmetic(found: gguf.File, expected: gguf.File) -> None:
    """Keys that say how to compute; those that only repeat a default may be left out."""
    for key, value in expected.metadata.items():
        if key.startswith("llama.") and not key.endswith(("key_length", "value_length")):
            assert found.metadata[key] == value, key


@pytest.mark.parametrize("form", [4, 5])
@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_hugging_face(tmp_path: Path, spec: Spec, form: int) -> None:
    found = converted(checkpoint_folders.hugging_face(tmp_path / "model", spec, "F32", form=form))
    expected = gguf.open(random_checkpoints.to_gguf(spec, tmp_path / "expected.gguf"))
    assert_same_tensors(found, expected)
    assert_same_arithmetic(found, expected)


@pytest.mark.parametrize(
    "options",
    [{"kind": "BF16"}, {"kind": "F16"}, {"kind": "BF16", "shards": 3}, {"kind": "F32", "merged": True}],
    ids=["bf16", "f16", "shards", "merged"],
)
def test_forms_of_hugging_face(tmp_path: Path, options: dict[str, Any]) -> None:
    found = converted(checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL, **options))
    expected = gguf.open(random_checkpoints.to_gguf(MIXTRAL, tmp_path / "expected.gguf"))
    assert_same_tensors(found, expected, options["kind"])


@pytest.mark.parametrize("pt", [False, True])
@pytest.mark.parametrize(("spec", "first"), [(MIXTRAL, False), (MIXTRAL, True), (DENSE, False)])
def test_mistral(tmp_path: Path, spec: Spec, first: bool, pt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.convert.stream.CHUNK", 200)  # some rows at a time, also of what is transposed
    found = converted(checkpoint_folders.mistral(tmp_path / "model", spec, pt=pt, first=first))
    expected = gguf.open(random_checkpoints.to_gguf(spec, tmp_path / "expected.gguf"))
    assert_same_tensors(found, expected, "BF16")
    assert_same_arithmetic(found, expected)


def test_gguf_with_an_expert_a_tensor_becomes_merged(tmp_path: Path) -> None:
    merged = gguf.open(random_checkpoints.to_gguf(MIXTRAL, tmp_path / "merged.gguf"))
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in merged.tensors.items():
        if "_exps" in name:
            arrays |= {name.replace("_exps", f".{e}"): tensor.data[e] for e in (2, 0, 3, 1)}
        else:
            arrays[name] = tensor.data
    infos = [gguf.TensorInfo(name, data.shape, merged.tensors["output.weight"].format) for name, data in arrays.items()]
    with gguf.Writer(tmp_path / "single.gguf", merged.typed_metadata, infos) as out:
        for name, data in arrays.items():
            out.write(name, data)
    found = converted(tmp_path / "single.gguf")
    assert_same_tensors(found, merged)
    assert {key: value for key, value in found.metadata.items() if key.startswith("llama.")} == {
        key: value for key, value in merged.metadata.items() if key.startswith("llama.")
    }


def test_quantized_bytes_are_copied_not_rounded_twice(tmp_path: Path) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    first = converted(folder, "Q8_0")
    again = converted(tmp_path / "model.Q8_0.gguf", "Q8_0", allow_requantize=True)
    assert any(tensor.format.name == "q8_0" for tensor in first.tensors.values())
    for name, tensor in first.tensors.items():
        assert again.tensors[name].data.tobytes() == tensor.data.tobytes()


def test_the_vocabulary_of_mistrals_third_version(tmp_path: Path) -> None:
    folder = checkpoint_folders.mistral(tmp_path / "model", MIXTRAL)
    expected = convert.open_checkpoint(folder).metadata["tokenizer.ggml.tokens"]
    (folder / "tokenizer.model").rename(folder / "tokenizer.model.v3")
    assert convert.open_checkpoint(folder).metadata["tokenizer.ggml.tokens"] == expected


def test_vocabulary_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    metadata = converted(checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)).metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    count = 4 + len(checkpoint_folders.PIECES)
    assert tokens[:count] == ["<unk>", "<s>", "</s>", *checkpoint_folders.PIECES, "<|im_end|>"]
    assert tokens[count:] == [f"[PAD{id}]" for id in range(count, MIXTRAL.vocabulary)]
    types = metadata["tokenizer.ggml.token_type"].tolist()
    assert types == [2, 3, 3, *[1] * len(checkpoint_folders.PIECES), 3, *[5] * (MIXTRAL.vocabulary - count)]
    assert metadata["tokenizer.ggml.bos_token_id"] == 1
    assert metadata["tokenizer.ggml.eos_token_id"] == 2
    assert metadata["tokenizer.chat_template"] == checkpoint_folders.TEMPLATE
    assert tokenizer.from_metadata(metadata).encode("ab a")[-2:] == [tokens.index("▁ab"), tokens.index("▁a")]


def test_bytes_do_not_depend_on_threads_or_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL)
    plan = convert.make_plan(convert.open_checkpoint(folder), RECIPES["Q4_0"])
    convert.write(plan, tmp_path / "one.gguf", threads=1)
    monkeypatch.setattr("localmix.convert.stream.CHUNK", 100)
    assert len(list(chunks(plan.outputs[1], 0, 1))) == 1
    assert len(list(chunks(plan.outputs[0], 0, 1))) > 10
    convert.write(plan, tmp_path / "many.gguf", threads=3)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "many.gguf").read_bytes()


@pytest.mark.parametrize("same", [True, False])
def test_an_output_beside_a_tied_embedding_is_kept_if_it_differs(tmp_path: Path, same: bool) -> None:
    spec = BY_NAME["dense_tied_linear"]
    folder = checkpoint_folders.hugging_face(tmp_path / "model", spec, "F32")
    tensors = checkpoint_folders.weights(spec)
    output = tensors["model.embed_tokens.weight"].copy()
    output[-1, -1] += np.float32(not same)
    checkpoint_folders.safetensors(folder / "model.safetensors", tensors | {"lm_head.weight": output}, "F32")
    found = converted(folder)
    assert ("output.weight" in found.tensors) != same
    assert same or np.array_equal(found.tensors["output.weight"].data, output)
    notes = [note for note in convert.open_checkpoint(folder).notes if "lm_head.weight is kept" in note]
    assert len(notes) == (0 if same else 1)
