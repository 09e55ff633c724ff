"""Models in several files: opened from any part, contradictions and missing parts named."""

import logging
import shutil
from pathlib import Path

import gguf as package
import numpy as np
import pytest

from localmix import gguf
from localmix.errors import FileFormatError

logging.getLogger("gguf").setLevel(logging.ERROR)
TENSORS = {f"t{index}": np.full((2, 8), index, np.float32) for index in range(5)}


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Five tensors in three files, as the gguf package splits them."""
    writer = package.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    writer.add_uint32("llama.block_count", 7)
    for name, values in TENSORS.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = sorted(tmp_path.glob("*.gguf"))
    assert [path.name for path in found] == [f"m-{index:05d}-of-00003.gguf" for index in (1, 2, 3)]
    return found


@pytest.mark.parametrize("given", [0, 1, 2])
def test_any_part_opens_the_model(given: int, parts: list[Path]) -> None:
    file = gguf.open(parts[given])
    assert file.path == parts[given]
    assert file.metadata["llama.block_count"] == 7
    assert list(file.tensors) == list(TENSORS)
    for name, values in TENSORS.items():
        np.testing.assert_array_equal(file.tensors[name].data, values)
    assert file.size == sum(path.stat().st_size for path in parts)


def test_missing_parts_are_named(parts: list[Path]) -> None:
    parts[0].unlink()
    parts[2].unlink()
    with pytest.raises(
        FileFormatError, match=r"found 1 of 3 parts; missing .*: m-00001-of-00003.gguf, m-00003-of-00003.gguf"
    ):
        gguf.open(parts[1])


def test_many_missing_parts_are_counted(parts: list[Path]) -> None:
    lonely = parts[0].rename(parts[0].with_name("m-00001-of-09000.gguf"))
    with pytest.raises(FileFormatError, match=r"m-00006-of-09000\.gguf and 8994 more"):
        gguf.open(lonely)


def test_a_renamed_part_is_refused(parts: list[Path]) -> None:
    alone = parts[1].rename(parts[1].with_name("model.gguf"))
    with pytest.raises(FileFormatError, match=r"split.count: found 3, expected 1 .* NAME-00002-of-00003.gguf"):
        gguf.open(alone)


def test_a_part_number_beyond_the_count(parts: list[Path]) -> None:
    odd = parts[1].rename(parts[1].with_name("m-00004-of-00003.gguf"))
    with pytest.raises(FileFormatError, match="the name says part 4 of 3"):
        gguf.open(odd)


def test_exchanged_parts(parts: list[Path]) -> None:
    shutil.copy(parts[0], parts[1])
    with pytest.raises(FileFormatError, match=r"m-00002-of-00003.gguf: split.no: found 0, expected 1"):
        gguf.open(parts[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split.count": np.uint16(4)}, "split.count: found 4, expected 3"),
        ({"split.tensors.count": np.int32(9)}, "split.tensors.count: found 9, expected 4, the tensors in all parts"),
        ({"split.no": "two"}, "split.no: found str, expected an integer"),
        ({"split.no": None}, "split.no: found nothing, expected an integer"),
    ],
)
def test_parts_that_contradict_each_other(changed: dict[str, object], message: str, parts: list[Path]) -> None:
    keys = {"split.no": np.uint16(2), "split.count": np.uint16(3), "split.tensors.count": np.int32(4)}
    metadata = {key: value for key, value in {**keys, **changed}.items() if value is not None}
    with gguf.Writer(parts[2], metadata, []):  # type: ignore[arg-type]
        pass
    for path, index in zip(parts[:2], (0, 1), strict=True):
        gguf.patch(path, {"split.no": index, "split.tensors.count": 4})
    with pytest.raises(FileFormatError, match=rf"m-00003-of-00003.gguf: {message}"):
        gguf.open(parts[0])


def test_a_tensor_in_two_parts(parts: list[Path]) -> None:
    shutil.copy(parts[0], parts[1])
    gguf.patch(parts[1], {"split.no": 1})
    for path in parts:
        gguf.patch(path, {"split.tensors.count": 5})
    with pytest.raises(FileFormatError, match="tensor 't0' is also in an earlier part"):
        gguf.open(parts[0])


def test_a_merged_file_with_a_count_of_zero_is_whole(tmp_path: Path) -> None:
    """llama.cpp's merging tool leaves split.count 0 and the old split.tensors.count behind."""
    with gguf.Writer(tmp_path / "m.gguf", {"split.count": np.uint16(0), "split.tensors.count": np.int32(9)}, []):
        pass
    assert gguf.open(tmp_path / "m.gguf").tensors == {}
