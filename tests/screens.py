"""Commands in a terminal whose screen can be looked at: what a user sees, and not what was written to show it."""

import os
import termios
from collections.abc import Callable
from pathlib import Path

import pyte
from command_line import Terminal

from localmix.conversation import record

PATIENCE = float(os.environ.get("LOCALMIX_PATIENCE", 60))  # seconds: a first run compiles, and the machine may be busy
READY, ASKED = "\x1b[?2004h", "\x1b[?2004l"  # what prompt_toolkit writes when it begins to ask, and when it has done so


class Screen(Terminal):
    """A terminal of some size. It answers where its cursor is, as real ones do."""

    def __init__(self, *arguments: object, columns: int = 80, rows: int = 24, **changes: str) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.ByteStream(self._screen)
        super().__init__(*arguments, size=(columns, rows), PROMPT_TOOLKIT_NO_CPR="", **changes)
        self._modes = termios.tcgetattr(self._leader)  # the command takes a while to begin
        self._screen.write_process_input = lambda data: os.write(self._leader, data.encode())

    @property
    def lines(self) -> list[str]:
        """All lines, also those that have left the screen, without spaces at their ends."""
        above = ["".join(row[x].data for x in range(self._screen.columns)) for row in self._screen.history.top]
        return [line.rstrip() for line in [*above, *self._screen.display]]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    @property
    def cursor_line(self) -> str:
        at = min(self._screen.cursor.y, self._screen.lines - 1)  # a window that shrank leaves it outside for a moment
        return str(self._screen.display[at]).rstrip()

    def wait(self, done: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Until the screen shows something."""
        self._read(done, seconds, "not shown")

    def see(self, text: str) -> None:
        """Until `text` is on the screen or above it."""
        self.wait(lambda: text in self.text)

    def ready(self) -> None:
        """Until a message is asked for."""
        self.wait(lambda: self.cursor_line == ">")

    def answering(self) -> None:
        """Until the first lines of an answer are there."""
        self.wait(lambda: self.seen.partition(ASKED)[2].count("\n") > 1)

    def say(self, text: str) -> None:
        """Type a message and wait until the next is asked for."""
        self.ready()
        self.type(text + "\r")
        self.wait(lambda: READY in self.seen and self.cursor_line == ">")

    def resize(self, columns: int, rows: int) -> None:
        super().resize(columns, rows)
        self._screen.resize(rows, columns)

    def sane(self) -> bool:
        """Whether the terminal is as it was: modes, cursor, no style, no marks around what is pasted."""
        modes = self._screen.mode
        return (
            termios.tcgetattr(self._leader) == self._modes
            and not self._screen.cursor.hidden
            and self._screen.cursor.attrs == self._screen.default_char
            and not modes & {2004 << 5}
        )

    def _receive(self, seconds: float) -> bytes:
        raw = super()._receive(seconds)
        self._stream.feed(raw)
        return raw


def questions(folder: Path) -> list[str]:
    """Those of the newest conversation that was kept."""
    names = sorted((folder / "state" / "sessions").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return record.read(names[-1]).questions
