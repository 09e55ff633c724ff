"""Threads that read pieces of files, first come first served: a solid-state disk wants several questions at once."""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from localmix.errors import LocalmixError
from localmix.stream.files import DirectFile

READERS = 8  # more are no faster from 1 MiB on
PIECE = 2 << 20  # bytes; 1 to 4 MiB are read equally fast, and small ones end together


@dataclass(frozen=True, eq=False)
class Piece:
    """One read: `target` is filled from byte `at` on, `need` bytes of it must be there. `done` hears the error."""

    file: DirectFile
    target: memoryview
    at: int
    need: int
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
    while True:
        with crew.bell:
            while not crew.waiting and not crew.dismissed:
                crew.bell.wait()
            if crew.dismissed:
                return
            piece = crew.waiting.popleft()
            crew.reading += 1
        error: LocalmixError | None = None
        try:
            piece.file.read(piece.target, piece.at, piece.need)
        except LocalmixError as found:
            error = found
        except Exception as found:  # whoever waits must hear of it: a thread that ends here would leave them waiting
            error = LocalmixError(f"{piece.file.path}: cannot be read: {type(found).__name__}: {found}")
        with crew.bell:
            crew.reading -= 1
            if not crew.reading and not crew.waiting:
                crew.busy += time.perf_counter() - crew.since
        piece.done(error)
        del piece
