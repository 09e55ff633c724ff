"""Writing: read back by the gguf package and by us, in chunks, all or nothing, and patched later."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest
from handmade import small

from localmix import gguf
from localmix.errors import LocalmixError
from quant import FORMATS

logging.getLogger("gguf").setLevel(logging.ERROR)
METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "an.int": 7,
    "a.negative": -7,
    "a.large": 1 << 40,
    "a.float": 0.5,
    "a.bool": True,
    "a.string": "né\n",
    **{f"a.{dtype}": np.dtype(dtype).type(3) for dtype in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")},
    "some.tokens": ["<s>", "é", ""],
    "some.scores": np.float32([0.5, -1]),
    "some.types": np.int32([1, 2, 3]),
    "some.bools": np.array([True, False]),
}
KINDS = {"an.int": "UINT32", "a.negative": "INT32", "a.large": "UINT64", "a.float": "FLOAT32", "a.bool": "BOOL"}
F32, Q4_0 = FORMATS["f32"], FORMATS["q4_0"]
INFOS = [
    gguf.TensorInfo("experts", (2, 4, 64), Q4_0),
    gguf.TensorInfo("empty", (0, 8), F32),
    gguf.TensorInfo("norm", (5,), F32),
]
EXPERTS = np.frombuffer(bytes(index % 251 for index in range(INFOS[0].nbytes)), Q4_0.dtype).reshape(8, 2)
NORM = np.arange(5, dtype=np.float32)


def write(path: Path, metadata: Any = METADATA) -> gguf.File:
    with gguf.Writer(path, metadata, INFOS) as out:
        out.write("experts", EXPERTS[:3])
        out.write("experts", EXPERTS[3:4])
        out.write("experts", EXPERTS[4:].reshape(2, 2, 2))
        out.write("norm", NORM)
    assert path.stat().st_size == out.size
    return gguf.open(path)


def test_the_gguf_package_reads_it(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf")
    reader = package.GGUFReader(tmp_path / "m.gguf")
    for key, value in METADATA.items():
        found = reader.fields[key].contents()
        assert found == (value.tolist() if isinstance(value, np.ndarray) else value), key
    for key, kind in KINDS.items():
        assert reader.fields[key].types[0].name == kind
    experts, empty, norm = reader.tensors
    assert (experts.name, experts.shape.tolist(), experts.tensor_type.name) == ("experts", [64, 4, 2], "Q4_0")
    assert experts.data.tobytes() == EXPERTS.tobytes()
    assert empty.n_elements == 0
    np.testing.assert_array_equal(norm.data, NORM)


@pytest.mark.parametrize("alignment", [None, 8, 256])
def test_we_read_it(alignment: int | None, tmp_path: Path) -> None:
    extra = {} if alignment is None else {"general.alignment": alignment}
    file = write(tmp_path / "m.gguf", {**METADATA, **extra})
    assert file.tensors["experts"].shape == (2, 4, 64)
    assert file.tensors["experts"].data.tobytes() == EXPERTS.tobytes()
    np.testing.assert_array_equal(file.tensors["norm"].data, NORM)
    assert file.tensors["norm"].address % (alignment or 32) == 0
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_copying_a_file_through_typed_metadata_is_exact(tmp_path: Path) -> None:
    """The draft has every type, nested arrays and tokens that are not UTF-8; only [] loses nothing either."""
    source = tmp_path / "source.gguf"
    source.write_bytes(small().raw)
    file = gguf.open(source)
    infos = [gguf.TensorInfo(t.name, t.shape, t.format) for t in file.tensors.values()]
    with gguf.Writer(tmp_path / "copy.gguf", file.typed_metadata, infos) as out:
        for tensor in file.tensors.values():
            out.write(tensor.name, tensor.data)
    assert (tmp_path / "copy.gguf").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1, 2], "give numbers as a NumPy array"),
        (["a", 1], "a list holds strings or arrays"),
        (1 << 64, "does not fit 64 bits"),
        (None, "NoneType is not a GGUF metadata type"),
        (np.array(["a"]), "is not a GGUF metadata type"),
        (1j, "complex is not a GGUF metadata type"),
    ],
)
def test_values_that_cannot_be_stored(value: Any, error: str, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        gguf.Writer(tmp_path / "m.gguf", {"key": value}, [])


def test_an_alignment_that_no_reader_takes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"general\.alignment: found 12, expected a power of two"):
        gguf.Writer(tmp_path / "m.gguf", {"general.alignment": 12}, [])


@pytest.mark.parametrize(
    ("infos", "error"),
    [
        ([gguf.TensorInfo("a", (8,), F32)] * 2, "names differ"),
        ([gguf.TensorInfo("a" * 64, (8,), F32)], "1 to 63 bytes"),
        ([gguf.TensorInfo("a", (8,), Q4_0)], "cannot be stored as q4_0"),
        ([gguf.TensorInfo("a", (), F32)], "cannot be stored as f32"),
    ],
)
def test_tensors_that_cannot_be_stored(infos: list[gguf.TensorInfo], error: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=error):
        gguf.Writer(tmp_path / "m.gguf", {}, infos)


@pytest.mark.parametrize(
    ("name", "blocks", "error"),
    [
        ("norm", NORM, "tensor norm was written, expected experts"),
        ("experts", NORM, "expected rows of 2 blocks"),
        ("experts", EXPERTS[:, :1], "expected rows of 2 blocks"),
        ("experts", np.concatenate([EXPERTS, EXPERTS]), "576 bytes, expected 144"),
        ("experts", EXPERTS[:2], "tensor experts has 72 of 144 bytes"),
        ("experts", EXPERTS[:4], "tensor norm has 0 of 20 bytes"),
    ],
)
def test_misuse_leaves_nothing_behind(name: str, blocks: Any, error: str, tmp_path: Path) -> None:
    infos = [gguf.TensorInfo("experts", (4, 64), Q4_0), INFOS[2]]
    with pytest.raises(ValueError, match=error), gguf.Writer(tmp_path / "m.gguf", {}, infos) as out:
        out.write(name, blocks)
    assert os.listdir(tmp_path) == []


def interrupted(path: Path) -> None:
    with gguf.Writer(path, METADATA, INFOS) as out:
        out.write("experts", EXPERTS)
        assert path.read_text() == "before"
        raise KeyboardInterrupt


def test_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert os.listdir(tmp_path) == ["m.gguf"]
    assert path.read_text() == "before"


class FullDisk:
    """A file on a disk without room."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, raw: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def write_to_full_disk(path: Path) -> None:
    with gguf.Writer(path, METADATA, INFOS) as out:
        out._partial._file = FullDisk(out._partial._file)  # type: ignore[assignment]
        out.write("experts", EXPERTS)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    with pytest.raises(LocalmixError, match=r"m.gguf: cannot be written: the disk is full; \d+ bytes"):
        write_to_full_disk(tmp_path / "m.gguf")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_too_small_is_refused_first(tmp_path: Path) -> None:
    huge = [gguf.TensorInfo("huge", (1 << 30, 1 << 20), F32)]
    out = gguf.Writer(tmp_path / "m.gguf", {}, huge)
    with pytest.raises(LocalmixError, match=r"needs \d+ bytes, the disk has \d+ free"), out:
        pass
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LocalmixError, match="no is not a folder"), gguf.Writer(tmp_path / "no/m.gguf", {}, []):
        pass
    with pytest.raises(LocalmixError, match="is a folder"), gguf.Writer(tmp_path, {}, []):
        pass


def test_values_are_patched_in_place(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    metadata = {"a.kl": float("nan"), "a.count": 0, "a.receipt": gguf.Reserved(32), "last": "end"}
    with gguf.Writer(path, metadata, INFOS) as out:
        out.write("experts", EXPERTS)
        out.write("norm", NORM)
        out.patch("a.count", 12)
    gguf.patch(path, {"a.kl": 0.25, "a.receipt": "sha256 é"})
    found = gguf.open(path)
    assert found.metadata == {"a.kl": 0.25, "a.count": 12, "a.receipt": "sha256 é" + " " * 23, "last": "end"}
    np.testing.assert_array_equal(found.tensors["norm"].data, NORM)
    assert path.stat().st_size == out.size


def test_a_file_is_patched_when_its_tensors_are_complete(tmp_path: Path) -> None:
    out = gguf.Writer(tmp_path / "m.gguf", {"a.count": 0}, INFOS)
    with pytest.raises(ValueError, match="tensor experts has 0 of 288"), out:
        out.patch("a.count", 1)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"text": "x" * 9}, "there is room for 16"),
        ({"text": 3}, "int cannot replace str"),
        ({"count": "3"}, "str cannot replace uint32"),
        ({"count": 3.5}, "count: 3.5 does not fit uint32"),
        ({"scores": np.zeros(3, np.float32)}, "the new value takes 24 bytes, there is room for 20"),
        ({"count": 9, "nothing": 1}, "nothing"),
        ({"count": 1 << 40}, "out of bounds|too large"),
    ],
)
def test_patches_that_do_not_fit_change_nothing(values: Any, error: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with gguf.Writer(path, {"text": gguf.Reserved(8), "count": 5, "scores": np.zeros(2, np.float32)}, []):
        pass
    before = path.read_bytes()
    with pytest.raises((ValueError, KeyError, OverflowError, TypeError), match=error):
        gguf.patch(path, values)
    assert path.read_bytes() == before
