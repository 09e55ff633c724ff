"""What the terminal does with keys while nobody reads them, and what signals do; undone however the program ends.

Typed ahead is neither shown, where it would run into an answer, nor lost: the next prompt reads it.
"""

import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SANE = "\x1b[0m\x1b[?25h\x1b[?2004l"  # no style, a cursor, no marks around what is pasted
_DEAF = 2  # signals that wait to be asked for


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP: exceptions that are raised where the program asks for them, so that none tears
    something apart or is lost in a callback that swallows it. A program that is deaf to the third dies of it.
    """

    def __init__(self) -> None:
        self._came: list[BaseException] = []
        self._told: Callable[[], None] | None = None

    def check(self) -> None:
        """KeyboardInterrupt, or SystemExit: one came."""
        if self._came:
            last = self._came[-1]
            self._came.clear()
            raise last

    @contextmanager
    def told(self, callback: Callable[[], None]) -> Iterator[None]:
        """In this block `callback` is called when one comes, at once: it may `check`, or see to it that others do."""
        self._told = callback
        try:
            if self._came:
                callback()
            yield
        finally:
            self._told = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._came.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        if len(self._came) > _DEAF:
            self.check()
        if self._told is not None:
            self._told()


@contextmanager
def quiet(interrupts: Interrupts, *, capable: bool) -> Iterator[None]:
    """Keys are not echoed, a signal is answered in order, and all is afterwards as it was."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    handlers: dict[signal.Signals, Any] = {
        signal.SIGINT: interrupts,
        signal.SIGTERM: interrupts,
        signal.SIGHUP: interrupts,
        signal.SIGCONT: lambda *_: _silence(stdin, before) if capable else None,
    }
    old: dict[signal.Signals, Any] = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    sane = False
    try:
        if capable:
            _silence(stdin, before)
        yield
        sane = True
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        if capable and not sane:
            sys.stdout.write(_SANE)
            sys.stdout.flush()
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _silence(stdin: int, before: list[Any]) -> None:
    changed: list[Any] = [*before[:6], before[6].copy()]
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[3] |= termios.NOFLSH  # Ctrl-C would throw away what was typed ahead
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    termios.tcsetattr(stdin, termios.TCSADRAIN, changed)
