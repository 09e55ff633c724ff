"""Reading: every type of value, shapes and formats, v2 and v3, the gguf package's files, time and memory."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest
from handmade import ARRAY, PAIRS, STRING, TENSORS, U8, Draft, small

from localmix import gguf
from localmix.errors import FileFormatError, UnsupportedError
from localmix.gguf.header import UNREAD
from quant import BY_ID

logging.getLogger("gguf").setLevel(logging.ERROR)


def saved(folder: Path, draft: Draft) -> Path:
    path = folder / "small.gguf"
    path.write_bytes(draft.raw)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_all_values(version: int, tmp_path: Path) -> None:
    file = gguf.open(saved(tmp_path, small(version)))
    assert list(file.metadata) == [key for key, *_ in PAIRS]
    numbers = {key: value for key, kind, value in PAIRS if kind not in (STRING, ARRAY)}
    for key, value in numbers.items():
        assert file.metadata[key] == value
        assert type(file.metadata[key]) is type(value)
        assert isinstance(file.typed_metadata[key], np.generic)
    assert file.typed_metadata["an.i16"].dtype == np.int16
    assert file.metadata["general.architecture"] == "llama"
    np.testing.assert_array_equal(file.metadata["tokenizer.ggml.scores"], np.float32([0, -1, -2, -3]))
    assert file.metadata["tokenizer.ggml.scores"].dtype == np.float32
    assert file.metadata["some.bools"].tolist() == [True, False]
    numbers_in, strings_in, [deepest] = file.metadata["some.nested"]
    assert (numbers_in.tolist(), strings_in, deepest.tolist()) == ([1, 2], ["x"], [7])
    assert file.metadata["empty.strings"] == []
    assert file.metadata["empty.numbers"].dtype == np.uint16


def test_tokens_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    tokens = gguf.open(saved(tmp_path, small())).metadata["tokenizer.ggml.tokens"]
    assert tokens[:2] == ["<s>", "é"]
    assert tokens[2].encode("utf-8", "surrogateescape") == b"\xe2\x96"
    assert tokens[3] == ""


def test_tensors_are_views_with_the_outermost_dimension_first(tmp_path: Path) -> None:
    path = saved(tmp_path, small())
    file = gguf.open(path)
    assert list(file.tensors) == [name for name, *_ in TENSORS]
    embedding = file.tensors["token_embd.weight"]
    assert embedding.shape == (2, 3, 32)
    assert embedding.format.name == "q4_0"
    assert embedding.data.shape == (2, 3, 1)
    assert embedding.data.dtype == embedding.format.dtype
    assert embedding.data.tobytes() == bytes(range(108))
    assert embedding.nbytes == 108
    norm = file.tensors["output_norm.weight"]
    assert (norm.shape, norm.data.dtype, norm.data.tobytes()) == ((5,), np.float32, bytes(range(20)))
    assert file.tensors["blk.0.empty.weight"].shape == (0, 64)
    assert file.tensors["blk.0.empty.weight"].data.shape == (0, 64)
    assert norm.address - embedding.address == 128
    assert file.size == path.stat().st_size


def test_data_is_read_only_and_outlives_close(tmp_path: Path) -> None:
    with gguf.open(saved(tmp_path, small())) as file:
        data = file.tensors["output_norm.weight"].data
    assert not data.flags.writeable
    assert file.tensors == {}
    assert data.tobytes() == bytes(range(20))


def extra_pair(key: str, kind: int, value: object) -> Callable[[Draft], None]:
    def edit(draft: Draft) -> None:
        draft.pair(key, kind, value)
        offset, _ = draft.fields["metadata count"]
        draft.raw[offset] += 1

    return edit


def nested(depth: int) -> object:
    return (U8, [1]) if depth == 1 else (ARRAY, [nested(depth - 1)])


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a system without large pages")
def test_large_pages_are_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, small())
    with gguf.open(path):
        maps = Path("/proc/self/smaps").read_text()
    flags = maps[maps.index(str(path)) :].split("VmFlags:")[1].split("\n")[0]
    assert "hg" in flags.split()


def test_arrays_nest_eight_deep_and_no_deeper(tmp_path: Path) -> None:
    gguf.open(saved(tmp_path, small(edit=extra_pair("deep", ARRAY, nested(8)))))
    with pytest.raises(FileFormatError, match=r"deep: type: found a deeper array, expected arrays nested at most 8"):
        gguf.open(saved(tmp_path, small(edit=extra_pair("deep", ARRAY, nested(9)))))


def replaced(old: bytes, new: bytes) -> Draft:
    draft = small()
    assert len(old) == len(new)
    assert old in draft.raw
    draft.raw = draft.raw.replace(old, new)
    return draft


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        (replaced(b"an.i8", b"an.u8"), "metadata key 3: found 'an.u8' a second time"),
        (replaced(b"an.i8", b"an\xff\xff8"), "metadata key 3: found byte 0xff at 2 of 5, expected UTF-8"),
        (replaced(b"llama", b"ll\xc3(a"), "general.architecture: found byte 0xc3 at 2 of 5, expected UTF-8"),
        (replaced(b"output_norm.weight", b"output_norm.\x1b[31\xffm"), "tensor 2: name: found byte 0xff"),
        (replaced(b"an.i8", b"\x1b[31m"), None),
        (replaced(b"blk.0.empty.weight", b"output_norm.weight"), "tensor 2: name: found 'output_norm.weight' a"),
    ],
    ids=["key twice", "key", "value", "name", "escape", "name twice"],
)
def test_names_and_texts(draft: Draft, message: str | None, tmp_path: Path) -> None:
    if message is None:
        assert "\x1b[31m" in gguf.open(saved(tmp_path, draft)).metadata
        return
    with pytest.raises(FileFormatError) as caught:
        gguf.open(saved(tmp_path, draft))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_type_that_exists_but_is_not_read_is_named(tmp_path: Path) -> None:
    draft = small()
    draft.raw[draft.fields["output_norm.weight format"][0]] = 16
    with pytest.raises(UnsupportedError, match="IQ2_XXS is not supported; expected one of f32, f16"):
        gguf.open(saved(tmp_path, draft))


def test_every_type_is_read_or_named() -> None:
    """Those that the gguf package knows, and those that there once were."""
    named = {kind: format.name.upper() for kind, format in BY_ID.items()} | UNREAD
    assert {kind.value: kind.name for kind in package.GGMLQuantizationType}.items() <= named.items()
    assert not BY_ID.keys() & UNREAD.keys()
    assert named.keys() == set(range(43))


def test_big_endian_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "big.gguf"
    writer = package.GGUFWriter(path, "llama", endianess=package.GGUFEndian.BIG)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedError, match="found a big-endian GGUF"):
        gguf.open(path)


def package_values() -> dict[str, tuple[str, Any]]:
    """key -> the name of the package's method that adds it, and the value."""
    scalars: dict[str, Any] = {"uint8": 200, "int8": -100, "uint16": 60000, "int16": -3000, "uint32": 1 << 31}
    scalars |= {"int32": -5, "uint64": 1 << 63, "int64": -(1 << 60), "float32": 0.5, "float64": 0.1}
    scalars |= {"bool": True, "string": "né"}
    arrays = {"ints": [1, -2, 3], "floats": [0.5, 1.5], "texts": ["a", "", "é"], "bools": [True, False]}
    return {
        **{f"a.{kind}": (f"add_{kind}", value) for kind, value in scalars.items()},
        **{f"an.array.of.{kind}": ("add_array", value) for kind, value in arrays.items()},
        "an.array.of.arrays": ("add_array", [[1, 2], [3]]),
    }


def test_a_file_of_the_gguf_package(tmp_path: Path) -> None:
    path = tmp_path / "package.gguf"
    writer = package.GGUFWriter(path, "llama")
    for key, (method, value) in package_values().items():
        getattr(writer, method)(key, value)
    writer.add_custom_alignment(64)
    weights = np.random.default_rng(0).standard_normal((3, 64), np.float32)
    quantized = package.quantize(weights, package.GGMLQuantizationType.Q8_0)
    writer.add_tensor("f32", weights[:, :5].copy())
    writer.add_tensor("f16", weights.astype(np.float16))
    writer.add_tensor("q8_0", quantized, raw_dtype=package.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    file = gguf.open(path)
    for key, (_, value) in package_values().items():
        found = file.metadata[key]
        if key == "an.array.of.arrays":
            found = [inner.tolist() for inner in found]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == value, key
    np.testing.assert_array_equal(file.tensors["f32"].data, weights[:, :5])
    np.testing.assert_array_equal(file.tensors["f16"].data, weights.astype(np.float16))
    assert file.tensors["q8_0"].data.tobytes() == quantized.tobytes()
    assert file.tensors["q8_0"].shape == (3, 64)


def test_a_large_vocabulary_opens_fast(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    tokens = [f"token-{index}" for index in range(49_152)]
    scores = np.zeros(49_152, np.float32)
    metadata = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": tokens, "tokenizer.ggml.scores": scores}
    with gguf.Writer(path, metadata, []):
        pass
    start = time.process_time()
    file = gguf.open(path)
    assert time.process_time() - start < 0.3
    assert file.metadata["tokenizer.ggml.merges"] == tokens


def test_more_strings_than_any_vocabulary_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.gguf.cursor.OBJECT_LIMIT", 10)
    with pytest.raises(FileFormatError, match="expected at most 10 strings and arrays in a file"):
        gguf.open(saved(tmp_path, small()))


def test_the_header_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.gguf.cursor.HEADER_LIMIT", 512)
    with pytest.raises(FileFormatError, match="expected a header of at most 512 bytes"):
        gguf.open(saved(tmp_path, small()))


def test_reading_imports_no_heavy_package() -> None:
    """The package named gguf costs up to 0.7 s; numba more."""
    import subprocess

    code = "import sys; from localmix import gguf; print({'numba', 'gguf', 'mlx'} & set(sys.modules))"
    child = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], capture_output=True, text=True
    )
    assert child.stdout.strip() == "set()", child.stderr
