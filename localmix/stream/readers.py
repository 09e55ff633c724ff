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

from localmix.errors import LocalmixError
from localmix.stream.files import DirectFile

READERS = 8  # more are no faster from 1 MiB on
PIECE = 2 << 20  # bytes; 1 to 4 MiB are read equally fast, and small ones end together


@dataclass(frozen=True, eq=False)
class Read:
    """`size` bytes of a file from byte `at` on, multiples of PAGE, of one part of an expert; `need` must be there.

    They go into `target`; without one to `put`, which takes out of a reader's memory what it wants: a part of reading.
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
            if not crew.reading and not crew.waiting:
                crew.since = time.perf_counter()
            crew.waiting.extend(pieces)
            crew.bell.notify(len(pieces))

    @property
    def busy(self) -> float:
        crew = self._crew
        with crew.bell:
            now = time.perf_counter() - crew.since if crew.reading or crew.waiting else 0.0
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
    own = _Own()
    while True:
        with crew.bell:
            while not crew.waiting and not crew.dismissed:
                crew.bell.wait()
            if crew.dismissed:
                return
            piece = crew.waiting.popleft()
            crew.reading += 1
        error = _tried(piece, own)
        with crew.bell:
            crew.reading -= 1
            if not crew.reading and not crew.waiting:
                crew.busy += time.perf_counter() - crew.since
        piece.done(error)
        del piece


class _Own:
    """A reader's own memory, for what has no target."""

    def __init__(self) -> None:
        self._memory = memoryview(b"")

    def of(self, size: int) -> memoryview:
        """So many bytes, from the beginning of a page on."""
        if len(self._memory) < size:
            self._memory = memoryview(mmap.mmap(-1, size))
        return self._memory[:size]


def _tried(piece: Piece, own: _Own) -> LocalmixError | None:
    """Whoever waits must hear of any error: a thread that ends here would leave them waiting."""
    read = piece.read
    try:
        target = own.of(read.size) if read.target is None else read.target
        piece.file.read(target, read.at, read.need)
        if read.put is not None:
            read.put(target)
    except LocalmixError as error:
        return error
    except Exception as error:
        return LocalmixError(f"{piece.file.path}: cannot be read: {type(error).__name__}: {error}")
    return None
