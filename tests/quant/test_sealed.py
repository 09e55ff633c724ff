"""Files of compiled code: whole, or not there."""

import os
from pathlib import Path

import pytest

from quant import sealed

CONTENT = bytes(range(256)) * 4


def test_written_and_read(tmp_path: Path) -> None:
    for content in (CONTENT, b""):
        sealed.write(tmp_path / "x", content)
        assert sealed.read(tmp_path / "x") == content
    assert os.listdir(tmp_path) == ["x"]
    assert sealed.read(tmp_path / "y") is None


@pytest.mark.parametrize("kept", [0, 1, 47, 48, 500, 1071])
def test_one_that_was_cut_is_deleted(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x"
    sealed.write(path, CONTENT)
    path.write_bytes(path.read_bytes()[:kept])
    assert sealed.read(path) is None
    assert not path.exists()


@pytest.mark.parametrize("at", [0, 10, 30, 48, 700, 1071])
@pytest.mark.parametrize("length", [1, 1072])
def test_one_with_other_bytes_is_deleted(tmp_path: Path, at: int, length: int) -> None:
    path = tmp_path / "x"
    sealed.write(path, CONTENT)
    raw = bytearray(path.read_bytes())
    for i in range(at, min(at + length, len(raw))):
        raw[i] ^= 0xFF
    path.write_bytes(raw)
    assert sealed.read(path) is None
    assert not path.exists()


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed.write(tmp_path / "x", CONTENT)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        sealed.write(tmp_path / "x", b"new")
    assert sealed.read(tmp_path / "x") == CONTENT
    assert os.listdir(tmp_path) == ["x"]
