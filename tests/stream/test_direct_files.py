"""Reads past the system's cache: the bytes of the file, or an error."""

import mmap
import os
from pathlib import Path

import pytest

from localmix.errors import FileFormatError, LocalmixError
from localmix.stream.files import PAGE, DirectFile


def filled(path: Path, size: int) -> bytes:
    data = os.urandom(size)
    path.write_bytes(data)
    return data


def buffer(pages: int) -> memoryview:
    return memoryview(mmap.mmap(-1, pages * PAGE))


@pytest.mark.parametrize("folder", ["", "/dev/shm"])
def test_the_last_page_may_reach_beyond_the_end(folder: str, tmp_path: Path) -> None:
    """On a disk and, where there is one, in a file system of memory, which may have no direct reads."""
    path = Path(folder or tmp_path, f"localmix-test-{os.getpid()}")
    if not path.parent.exists():
        pytest.skip(f"no {path.parent}")
    try:
        data = filled(path, 2 * PAGE + 1000)
        target = buffer(3)
        DirectFile(path).read(target, 0, len(data))
        assert target[: len(data)] == data
        DirectFile(path).read(target[:PAGE], PAGE, PAGE)
        assert target[:PAGE] == data[PAGE : 2 * PAGE]
    finally:
        path.unlink()


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    filled(path, 3 * PAGE)
    file = DirectFile(path)
    file.check()
    os.truncate(path, PAGE + 100)
    with pytest.raises(FileFormatError, match=r"its end at byte 4196, expected 12288 bytes or more.*load the model"):
        file.read(buffer(3), 0, 3 * PAGE)
    with pytest.raises(FileFormatError, match="was written to while in use"):
        file.check()


def test_a_file_that_was_written_to(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    data = filled(path, PAGE)
    file = DirectFile(path)
    with path.open("r+b") as other:
        other.write(b"x")
    os.utime(path, ns=(0, 0))  # however coarse the clock is
    with pytest.raises(FileFormatError, match="was written to while in use"):
        file.check()
    file = DirectFile(path)
    other_path = tmp_path / "other"
    filled(other_path, PAGE)
    other_path.replace(path)  # another file under its name is another file
    target = buffer(1)
    file.read(target, 0, PAGE)
    assert target == b"x" + data[1:]
    file.check()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalmixError, match="nothing: cannot be read: No such file"):
        DirectFile(tmp_path / "nothing")
    path = tmp_path / "model.gguf"
    filled(path, PAGE)
    file = DirectFile(path)
    os.close(file._file)
    file._file = os.open(tmp_path, os.O_RDONLY)  # a folder cannot be read: EISDIR in the place of EIO
    with pytest.raises(LocalmixError, match=r"model\.gguf: cannot be read at byte 0: Is a directory: check the disk"):
        file.read(buffer(1), 0, PAGE)
