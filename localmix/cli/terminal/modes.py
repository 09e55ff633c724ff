"""What the terminal does with keys while nobody reads them, and what Ctrl-C does; undone however the program ends.

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


class Interrupts:
    """Ctrl-C raises KeyboardInterrupt, but where it is held back: there only at the end of the block."""

    def __init__(self) -> None:
        self._depth, self._pending = 0, False
        self._told: Callable[[], None] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending and not self._depth:
            self._pending = False
            raise KeyboardInterrupt

    @contextmanager
    def told(self, callback: Callable[[], None]) -> Iterator[None]:
        """In this block a Ctrl-C raises nothing, but calls `callback`."""
        self._told = callback
        try:
            yield
        finally:
            self._told = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._told is not None:
            self._told()
        elif self._depth:
            self._pending = True
        else:
            raise KeyboardInterrupt


@contextmanager
def quiet(interrupts: Interrupts, *, capable: bool) -> Iterator[None]:
    """Keys are not echoed, a signal ends the program in order, and all is afterwards as it was."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    handlers: dict[signal.Signals, Any] = {
        signal.SIGINT: interrupts,
        signal.SIGTERM: _leave,
        signal.SIGHUP: _leave,
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


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
