"""An importance matrix on its way into a file: what each tensor and expert gets, and what the file says about it."""

from pathlib import Path

import checkpoint_folders
import numpy as np
import pytest
from random_checkpoints import SPECS

from localmix import convert, gguf
from localmix.convert.plan import Output
from localmix.convert.receipt import read_receipt
from localmix.errors import LocalmixError
from localmix.measure import imatrix
from localmix.measure.imatrix import Entry, Imatrix
from quant.recipe import RECIPES

MIXTRAL = SPECS[0]
ROUTED, DENSE = "blk.1.ffn_down_exps.weight", "blk.0.attn_q.weight"
RANDOM = np.random.default_rng(3)
FEW = 2  # the expert that saw hardly anything


@pytest.fixture
def checkpoint(tmp_path: Path) -> convert.Checkpoint:
    return convert.open_checkpoint(checkpoint_folders.hugging_face(tmp_path / "model", MIXTRAL))


def matrix() -> Imatrix:
    """Inputs that differ by a factor of a hundred, differently for each expert."""
    counts = np.full(MIXTRAL.experts, 1000.0)
    counts[FEW] = 5
    sums = counts[:, None] * np.exp(RANDOM.uniform(-2, 2, (MIXTRAL.experts, MIXTRAL.hidden)))
    dense = Entry(np.exp(RANDOM.uniform(-2, 2, (1, MIXTRAL.width))), np.array([4000.0]))
    return Imatrix({ROUTED: Entry(sums, counts), DENSE: dense}, ["tales.txt"], 8, 500)


def written(checkpoint: convert.Checkpoint, path: Path, calibration: convert.Calibration | None) -> gguf.File:
    given = calibration and calibration.importance
    extra = convert.receipt(checkpoint, "Q4_0", calibration and calibration.receipt)
    convert.write(convert.make_plan(checkpoint, RECIPES["Q4_0"], (), extra, given), path, threads=1)
    return gguf.open(path)


def test_every_tensor_and_expert_is_quantized_with_its_own(
    checkpoint: convert.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = matrix()
    imatrix.write(tmp_path / "x.gguf", found)
    calibration = convert.calibrated(checkpoint, tmp_path / "x.gguf")
    given: dict[str, list[np.ndarray | None]] = {}
    importance_of = Output.importance_of

    def noted(output: Output, row: int) -> np.ndarray | None:
        given.setdefault(output.info.name, []).append(importance_of(output, row))
        return importance_of(output, row)

    monkeypatch.setattr(Output, "importance_of", noted)
    written(checkpoint, tmp_path / "out.gguf", calibration)
    assert given["blk.0.attn_k.weight"] == [None]
    assert np.allclose(given[DENSE][0], found.entries[DENSE].sums[0] / 4000)
    entry = found.entries[ROUTED]
    expected = (entry.sums / entry.counts[:, None]).astype(np.float32)
    expected[FEW] = entry.sums.sum(axis=0) / entry.counts.sum()
    assert np.allclose(np.array(given[ROUTED]), expected)


def test_weighted_error_falls(checkpoint: convert.Checkpoint, tmp_path: Path) -> None:
    imatrix.write(tmp_path / "x.gguf", matrix())
    calibration = convert.calibrated(checkpoint, tmp_path / "x.gguf")
    plain = written(checkpoint, tmp_path / "plain.gguf", None).tensors[DENSE]
    better = written(checkpoint, tmp_path / "better.gguf", calibration).tensors[DENSE]
    exact = checkpoint.tensors[DENSE].matrix.read(0, MIXTRAL.width)

    def error(tensor: gguf.Tensor) -> float:
        difference = tensor.format.dequantize(tensor.data) - exact
        return float((calibration.importance[DENSE] * difference**2).sum())

    assert error(better) < 0.97 * error(plain)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("format", ["Q4_0", "IQ4_NL"])
def test_an_expert_that_saw_no_token_is_quantized_as_without(
    checkpoint: convert.Checkpoint, tmp_path: Path, format: str, counted: bool
) -> None:
    """Whether the file says so or, as llama.cpp's older ones, has zeros under one count for all."""
    gate, entries = "blk.1.ffn_gate_exps.weight", {}
    for name, width in ((ROUTED, MIXTRAL.hidden), (gate, MIXTRAL.width)):
        sums, counts = np.exp(RANDOM.uniform(5, 9, (MIXTRAL.experts, width))), np.full(MIXTRAL.experts, 1000.0)
        sums[1], counts[1] = 0, 0
        entries[name] = Entry(sums, counts) if counted else Entry(sums.reshape(1, -1), np.array([4000.0]))
    imatrix.write(tmp_path / "x.gguf", Imatrix(entries))
    calibration = convert.calibrated(checkpoint, tmp_path / "x.gguf")
    assert calibration.notes.count("blk.1: no tokens for experts 1: quantized without importance") == 1
    assert calibration.receipt["experts_without"] == [f"{name} expert 1" for name in calibration.importance]
    files = []
    for name, given in (("with", calibration.importance), ("without", None)):
        convert.write(convert.make_plan(checkpoint, RECIPES[format], (), {}, given), tmp_path / name, threads=1)
        files.append(gguf.open(tmp_path / name).tensors[gate].data)
    assert np.array_equal(files[0][1], files[1][1])
    assert not np.array_equal(files[0][0], files[1][0])


def test_the_receipt_counts_tokens_and_names_experts(checkpoint: convert.Checkpoint, tmp_path: Path) -> None:
    imatrix.write(tmp_path / "x.gguf", matrix())
    calibration = convert.calibrated(checkpoint, tmp_path / "x.gguf")
    found = read_receipt(written(checkpoint, tmp_path / "out.gguf", calibration).metadata)
    assert found["calibration.text"] == "tales.txt"
    assert found["calibration.tokens"] == 4000
    assert found["calibration.matrices"] == 2
    assert found["calibration.experts_from_average"] == [f"{ROUTED} expert {FEW}"]
    assert found["calibration.expert_tokens"][FEW] == 5
    assert len(found["calibration.hash"]) == 64
    said = "\n".join(calibration.notes)
    assert "importance: 2 matrices, 4000 tokens of tales.txt" in said
    assert f"blk.1: fewer than 64 tokens for experts {FEW} (5 tokens): they get the layer's average" in said
    assert "importance: none for token_embd.weight, blk.0.attn_k.weight" in said


def test_layers_are_counted_in_order(checkpoint: convert.Checkpoint) -> None:
    entries = {
        f"blk.{layer}.ffn_down_exps.weight": Entry(np.ones((2, 1)), np.array([layer, layer + 0.0])) for layer in (1, 0)
    }
    assert convert.calibration.expert_counts(Imatrix(entries), checkpoint).tolist() == [0, 0, 1, 1]


def test_of_another_model(checkpoint: convert.Checkpoint, tmp_path: Path) -> None:
    imatrix.write(tmp_path / "x.gguf", Imatrix({"v.blk.0.attn_q.weight": Entry(np.ones((1, 4)), np.ones(1))}))
    with pytest.raises(LocalmixError, match=r"x\.gguf: names none of the tensors of .*: it was made for another"):
        convert.calibrated(checkpoint, tmp_path / "x.gguf")
