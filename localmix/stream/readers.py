"""Threads that read pieces of files, first come first served: a solid-state disk wants several questions at once."""

import mmap
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmix.errors import LocalmixError
from localmix.stream.files import DirectFile

READERS = 8  # more are no faster from 1 MiB on
PIECE = 2 << 20  # bytes; 1 to 4 MiB are read equally fast, and small ones end together


@dataclass(frozen=True, eq=False)
class Read:
    """`size` bytes of a file from byte `at` on, multiples of PAGE, of one part of an expert; `need` must be there.

    They go into `target`; without one to `put`, which takes out of a reader's memory what it wants.
    """

    part: int
    path: Path
    at: int
    size: int
    need: int
    target: memoryview | None = None
    put: Callable[[memoryview], None] | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """A read of an open file. `done` hears the error."""

    file: DirectFile
    read: Read
    done: Callable[[LocalmixError | None], None]


class Readers:
    """`busy`: seconds in which anything was being read. Threads start with the first piece, also after a fork."""

    def __init__(self, count: int = READERS) -> None:
        self._count = count
        self._crew = _Crew()
        self._process = 0

    def add(self, pieces: list[Piece]) -> None:
        if self._process != os.getpid():
            self._start()
        crew = self._crew
        with crew.bell:
            crew.waiting.extend(pieces)
            crew.bell.notify(len(pieces))

    @property
    def busy(self) -> float:
        crew = self._crew
        with crew.bell:
            now = time.perf_counter() - crew.since if crew.reading else 0.0
            return crew.busy + now

    def _start(self) -> None:
        self._process = os.getpid()
        self._crew = crew = _Crew()
        weakref.finalize(self, crew.dismiss).atexit = False
        for i in range(self._count):
            threading.Thread(target=_work, args=(crew,), name=f"localmix-reader-{i + 1}", daemon=True).start()


class _Crew:
    """What the threads work on: not the Readers, so that they end when nobody has these any more."""

    def __init__(self) -> None:
        self.bell = threading.Condition()
        self.waiting: deque[Piece] = deque()
        self.reading = 0
        self.busy = self.since = 0.0  # seconds; when the present stretch of reading began
        self.dismissed = False

    def dismiss(self) -> None:
        with self.bell:
            self.dismissed = True
            self.waiting.clear()
            self.bell.notify_all()


def _work(crew: _Crew) -> None:
    own = memoryview(b"")  # for what has no target
    while True:
        with crew.bell:
            while not crew.waiting and not crew.dismissed:
                crew.bell.wait()
            if crew.dismissed:
                return
            piece = crew.waiting.popleft()
            if not crew.reading:
                crew.since = time.perf_counter()
            crew.reading += 1
        read = piece.read
        if read.target is None and len(own) < read.size:
            own = memoryview(mmap.mmap(-1, read.size))  # begins at a page
        target = own[: read.size] if read.target is None else read.target
        error = _tried(piece, piece.file.read, target, read.at, read.need)
        with crew.bell:
            crew.reading -= 1
            if not crew.reading:
                crew.busy += time.perf_counter() - crew.since
        if error is None and read.put is not None:
            error = _tried(piece, read.put, target)
        piece.done(error)
        del piece, read, target


def _tried(piece: Piece, what: Callable[..., None], *args: Any) -> LocalmixError | None:
    """Whoever waits must hear of any error: a thread that ends here would leave them waiting."""
    try:
        what(*args)
    except LocalmixError as error:
        return error
    except Exception as error:
        return LocalmixError(f"{piece.file.path}: cannot be read: {type(error).__name__}: {error}")
    return None
