"""A file that grows beside its final name, and may go on where it was cut off.

`OUT.partial` holds the bytes; `OUT.partial.log` says whose bytes they are and how many are safely on the disk, a
line each time. Only a finished file is moved to the final name. What the bytes mean is `writer`'s business.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from localmix.errors import LocalmixError

INTERVAL = 5.0  # seconds of work that a crash may cost
# Bytes written at once. Linux keeps a file in pieces of memory no larger than it was written in, and one that is in
# pieces of 2 MB, which processors address by one entry, is read up to twice as fast.
TOGETHER = 16 << 20


def partial_path(path: Path) -> Path:
    """Where `path` grows."""
    return path.with_name(path.name + ".partial")


def check_room(path: Path, size: int, purpose: str = "") -> None:
    """LocalmixError: no file of `size` bytes can be written to `path`; `purpose` says what all of them are for."""
    if path.is_dir():
        raise LocalmixError(f"{path}: is a folder, expected a file name to write to")
    if not os.access(path.parent, os.W_OK):
        found = "cannot be written to" if path.parent.is_dir() else "is not a folder"
        raise LocalmixError(f"{path}: {path.parent} {found}: expected a folder to write to")
    place = partial_path(path)
    free = shutil.disk_usage(path.parent).free + (place.stat().st_size if place.exists() else 0)
    if free < size:
        raise LocalmixError(f"{path}: needs {size} bytes{purpose}, the disk has {free} free")


class Partial:
    """A file of `size` bytes that will be at `path`. Every failure of the disk is a LocalmixError in one line.

    `identity` is one line that names the content to be: only a file begun under the same one is continued. Without
    it nothing is logged, and nothing can be.
    """

    def __init__(self, path: Path, size: int, identity: str | None) -> None:
        self.path, self.size, self.identity = path, size, identity
        self.place = partial_path(path)
        self.log = self.place.with_name(self.place.name + ".log")
        self.done = 0  # bytes appended
        self._file: BinaryIO | None = None
        self._saved = time.monotonic()

    def open(self, resume: bool) -> None:
        """Begin with nothing, or `resume`: `done` says how many bytes are there already."""
        with self._disk_errors():
            check_room(self.path, self.size)
            done = self._recorded() if resume and self.place.exists() else 0
            self._file = os.fdopen(os.open(self.place, os.O_RDWR | os.O_CREAT, 0o666), "r+b", TOGETHER)
            self._lock()
            self._file.truncate(done)
            self._file.seek(done)
            self.done = done
            if not done and self.identity is not None:
                self.log.write_text(self.identity + "\n")

    def append(self, *pieces: bytes | memoryview) -> None:
        """Bytes that belong together: a file is continued before or after them, never between."""
        with self._disk_errors():
            for piece in pieces:
                self._opened.write(piece)
            self.done += sum(len(piece) for piece in pieces)
        if time.monotonic() - self._saved > INTERVAL:
            self.save()

    def flush(self) -> None:
        """Every byte so far is in the file `place`, for whoever opens it anew."""
        with self._disk_errors():
            self._opened.flush()

    def save(self) -> None:
        """Every byte so far is on the disk, and the log says so."""
        if self.identity is None:
            return
        with self._disk_errors():
            self._opened.flush()
            os.fsync(self._opened.fileno())
            with self.log.open("a") as log:
                log.write(f"{self.done}\n")
                log.flush()
                os.fsync(log.fileno())
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Move the complete file into place."""
        with self._disk_errors():
            self._opened.flush()
            os.fsync(self._opened.fileno())
            os.replace(self.place, self.path)
            self._opened.close()
            self._file = None
            self.log.unlink(missing_ok=True)

    def keep(self) -> None:
        """Stop here, to be continued; without an identity as `discard`."""
        if self._file is None or self.identity is None:
            self.discard()
            return
        self.save()
        self._file.close()
        self._file = None

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._file is None:
            return
        with suppress(OSError):  # what is still buffered does not fit: it is thrown away anyway
            self._file.close()
        self._file = None
        self.place.unlink(missing_ok=True)
        if self.identity is not None:
            self.log.unlink(missing_ok=True)

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("a Writer writes inside its `with` block")
        return self._file

    def _lock(self) -> None:
        """Refuse to write into what another process is writing. The lock ends with the open file."""
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._opened.close()
            self._file = None
            raise LocalmixError(f"{self.place}: another process is writing it: wait for it, or end it") from None
        except OSError:
            pass  # a file system without locks

    def _recorded(self) -> int:
        """How many bytes the log promises. LocalmixError: they are of something else."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        head, *counts = text.split("\n")[:-1] or [""]  # what has no newline was cut off while it was written
        if not head:
            return 0
        if head != self.identity:
            raise LocalmixError(
                f"{self.place}: was started from another source, with other options or by another version: "
                "use the same ones, or start over with --force"
            )
        done = max((int(count) for count in counts if count.isdecimal()), default=0)
        return done if done <= self.place.stat().st_size else 0

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """What the system says about the disk as one line for the user."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                reason = f"the disk is full; {self.size} bytes are needed"
            else:
                reason = error.strerror or str(error)
            raise LocalmixError(f"{self.path}: cannot be written: {reason}") from error
