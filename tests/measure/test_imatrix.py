"""Importance matrices as files, and what is made of them."""

import struct
from pathlib import Path

import numpy as np
import pytest
import small_models

from localmix import gguf
from localmix.errors import FileFormatError, LocalmixError
from localmix.measure import imatrix
from localmix.measure.imatrix import Entry, Imatrix

RANDOM = np.random.default_rng(0)
EXPERTS = Entry(RANDOM.random((4, 6)) * [[1000], [1000], [0], [1000]], np.array([100.0, 7.0, 0.0, 300.0]))
DENSE = Entry(RANDOM.random((1, 8)), np.array([512.0]))
MATRIX = Imatrix({"blk.0.ffn_down_exps.weight": EXPERTS, "blk.0.attn_q.weight": DENSE}, ["a.txt", "ü"], 3, 512)


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    imatrix.write(path, MATRIX)
    found = imatrix.read(path)
    assert (found.datasets, found.chunks, found.chunk_size, found.tokens) == (["a.txt", "ü"], 3, 512, 1536)
    assert set(found.entries) == set(MATRIX.entries)
    for name, entry in MATRIX.entries.items():
        assert np.array_equal(found.entries[name].sums, entry.sums.astype(np.float32))
        assert np.array_equal(found.entries[name].counts, entry.counts)


def test_layout_is_llama_cpps(tmp_path: Path) -> None:
    """Names, keys, types and shapes (outermost first here) as llama.cpp's imatrix tool writes them."""
    imatrix.write(tmp_path / "x.gguf", MATRIX)
    file = gguf.open(tmp_path / "x.gguf")
    assert {name: (t.shape, t.format.name) for name, t in file.tensors.items()} == {
        "blk.0.attn_q.weight.in_sum2": ((1, 8), "f32"),
        "blk.0.attn_q.weight.counts": ((1, 1), "f32"),
        "blk.0.ffn_down_exps.weight.in_sum2": ((4, 6), "f32"),
        "blk.0.ffn_down_exps.weight.counts": ((4, 1), "f32"),
    }
    assert file.metadata["general.type"] == "imatrix"
    assert isinstance(file.typed_metadata["imatrix.chunk_count"], np.uint32)
    assert isinstance(file.typed_metadata["imatrix.chunk_size"], np.uint32)


def test_importance_and_experts_that_saw_few_tokens() -> None:
    """The mean square; below FEW tokens the average over all tokens of the layer; zeros without any."""
    shapes = {"blk.0.ffn_down_exps.weight": (4, 5, 6), "blk.0.attn_q.weight": (3, 8), "output.weight": (9, 8)}
    found = MATRIX.importance(shapes, Path("x"))
    assert set(found) == {"blk.0.ffn_down_exps.weight", "blk.0.attn_q.weight"}
    experts = found["blk.0.ffn_down_exps.weight"]
    average = EXPERTS.sums.sum(axis=0) / 407
    expected = [EXPERTS.sums[0] / 100, average, np.zeros(6), EXPERTS.sums[3] / 300]
    assert np.allclose(experts, expected)
    assert np.allclose(found["blk.0.attn_q.weight"], DENSE.sums[0] / 512)
    assert MATRIX.rare() == {"blk.0.ffn_down_exps.weight": {1: 7, 2: 0}}


def test_a_tensor_that_saw_nothing_has_no_importance() -> None:
    unseen = Imatrix({"blk.0.attn_q.weight": Entry(np.zeros((1, 8)), np.zeros(1))})
    assert unseen.importance({"blk.0.attn_q.weight": (3, 8)}, Path("x")) == {}


def test_of_another_model() -> None:
    with pytest.raises(LocalmixError, match=r"attn_q\.weight has 8 values, expected 16: it was made for another"):
        MATRIX.importance({"blk.0.attn_q.weight": (3, 16)}, Path("x"))


def old_file(path: Path) -> Path:
    """llama.cpp's older format: for each tensor a name, the chunks seen, and mean squares times these."""
    raw = struct.pack("<i", 2)
    for name, chunks, values in (("blk.0.attn_q.weight", 5, np.arange(8.0)), ("exps", 5, np.arange(12.0))):
        raw += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", chunks, len(values))
        raw += (values * chunks).astype("<f4").tobytes()
    path.write_bytes(raw + struct.pack("<ii", 5, 3) + b"txt")
    return path


def test_older_files(tmp_path: Path) -> None:
    found = imatrix.read(old_file(tmp_path / "x.dat"))
    assert found.chunks == 5
    importance = found.importance({"blk.0.attn_q.weight": (2, 8), "exps": (3, 7, 4)}, Path("x"))
    assert np.allclose(importance["blk.0.attn_q.weight"], np.arange(8))
    assert np.allclose(importance["exps"], np.arange(12).reshape(3, 4))
    assert found.rare() == {}


def test_what_is_no_importance_matrix(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"not an importance matrix \(general\.type is None"):
        imatrix.read(small_models.STORIES)
    whole = old_file(tmp_path / "x.dat").read_bytes()
    for size in (0, 3, 30, len(whole) // 2):
        (tmp_path / "cut.dat").write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="not an importance matrix"):
            imatrix.read(tmp_path / "cut.dat")
    with pytest.raises(FileFormatError, match=r"none\.dat: cannot be read"):
        imatrix.read(tmp_path / "none.dat")
    damaged = Imatrix({"a": Entry(np.array([[1.0, np.nan]]), np.ones(1))})
    imatrix.write(tmp_path / "nan.gguf", damaged)
    with pytest.raises(FileFormatError, match="a has values that cannot be sums of squares"):
        imatrix.read(tmp_path / "nan.gguf")


def test_sums_without_counts(tmp_path: Path) -> None:
    one = (small_models.F32, np.ones((1, 8), np.float32))
    path = small_models.write(tmp_path / "x.gguf", {"general.type": "imatrix"}, {"a.in_sum2": one})
    with pytest.raises(FileFormatError, match="sums without their counts"):
        imatrix.read(path)
