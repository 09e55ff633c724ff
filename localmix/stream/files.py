"""Files read past the system's cache: what is read goes where it is wanted, and pushes nothing else out of memory.

A file that is cut or written to while it is read is an error, never other bytes.
"""

import mmap
import os
import sys
from pathlib import Path

from localmix.errors import FileFormatError, LocalmixError

PAGE = 4096  # direct reads begin and end at its multiples, in the file and in memory
_F_NOCACHE = 48  # macOS


class DirectFile:
    """One open file. `direct`: the system's cache is left out; not every file system can do that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.direct, self._file = _open(path)
        self._opened = self._state()

    def read(self, target: memoryview, at: int, need: int) -> None:
        """Fill a page-aligned `target` from byte `at` on, a multiple of PAGE; `need` bytes of it must be there.

        FileFormatError: the file ends before. LocalmixError: the disk cannot read it.
        """
        got = 0
        while got < need:
            begin = got - got % PAGE  # after a short read the rest begins at a page again
            try:
                count = os.preadv(self._file, [target[begin:]], at + begin)
            except OSError as error:
                raise LocalmixError(
                    f"{self.path}: cannot be read at byte {at + begin}: {error.strerror}: check the disk"
                ) from error
            if begin + count <= got:
                raise FileFormatError(
                    f"{self.path}: found its end at byte {at + got}, expected {at + need} bytes or more: "
                    "it was cut while in use: load the model again"
                )
            got = begin + count
        if not self.direct and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, at, len(target), os.POSIX_FADV_DONTNEED)

    def check(self) -> None:
        """FileFormatError: the file is not what it was when it was opened."""
        if self._state() != self._opened:
            raise FileFormatError(f"{self.path}: was written to while in use: load the model again")

    def forget(self) -> None:
        """Let the system's cache give up what it has of the file."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def _state(self) -> tuple[int, int, int]:
        found = os.fstat(self._file)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def _open(path: Path) -> tuple[bool, int]:
    """Whether the cache is left out, and the descriptor. LocalmixError: the file cannot be opened."""
    try:
        if sys.platform == "darwin":
            import fcntl

            file = os.open(path, os.O_RDONLY)
            fcntl.fcntl(file, _F_NOCACHE, 1)
            return True, file
        file = _direct(path)
        return (True, file) if file is not None else (False, os.open(path, os.O_RDONLY))
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be read: {error.strerror}") from None


def _direct(path: Path) -> int | None:
    """A descriptor for direct reads, if the file system has them: some refuse at opening, others at the first read."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    except OSError:
        return None
    try:
        with mmap.mmap(-1, PAGE) as page:
            os.preadv(file, [page], 0)
    except OSError:
        os.close(file)
        return None
    return file
