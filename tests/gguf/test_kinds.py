"""Files of other kinds: one line that says what was found and what to do."""

import json
import os
from pathlib import Path

import pytest

from localmix import gguf
from localmix.errors import FileFormatError

SAFETENSORS = json.dumps({"__metadata__": {}}).encode()
CONTENTS = {
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "safetensors": (len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS, "localmix quantize"),
    "torch zip": (b"PK\x03\x04" + bytes(60), "PyTorch checkpoint"),
    "pickle": (b"\x80\x02}q\x00.", "localmix quantize"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "gunzip"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(60), "unzstd"),
    "ggml": (b"tjgg" + bytes(60), "before GGUF"),
    "html": (b"<!DOCTYPE html><html>", "download the .gguf file again"),
    "json": (b'{"architectures": []}', "JSON"),
    "zeros": (bytes(4096), "unfinished download"),
    "empty": (b"", "the file is empty"),
    "text": (b"hello there", r"magic: found b'hell', expected b'GGUF'"),
    "three bytes": (b"GGU", r"magic: found b'GGU', expected b'GGUF'"),
}


def refusal(path: Path) -> str:
    with pytest.raises(FileFormatError) as caught:
        gguf.open(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize("kind", CONTENTS)
def test_other_files(kind: str, tmp_path: Path) -> None:
    content, advice = CONTENTS[kind]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert advice in refusal(path)


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "model.gguf")
    assert "no such file" in refusal(tmp_path / "model-00001-of-00002.gguf")
    assert "cannot be read" in refusal(tmp_path / ("x" * 300))


def test_folders(tmp_path: Path) -> None:
    assert "found a folder" in refusal(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert "localmix quantize" in refusal(tmp_path)
    (tmp_path / "model.gguf").touch()
    assert f"did you mean {tmp_path / 'model.gguf'}?" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    assert "device or a pipe" in refusal(tmp_path / "model.gguf")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.touch(mode=0)
    assert "cannot be read: Permission denied" in refusal(path)
