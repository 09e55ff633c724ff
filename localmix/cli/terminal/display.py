"""Everything that is written to the terminal, one way where it can move its cursor and a plain one where not."""

import os
import sys
from typing import Protocol, TextIO

from rich.text import Text

from localmix.cli.streams import draw, harmless, write
from localmix.cli.terminal import markdown, themes
from localmix.cli.terminal.progress import Bar
from localmix.cli.terminal.screen import Answer, Block


class Written(Protocol):
    """An answer that is being shown."""

    def add(self, piece: str) -> None: ...
    def end(self) -> None: ...


class Display:
    """`capable`: stdout is a terminal that knows the usual codes."""

    def __init__(self, theme: str = "auto", quiet: bool = False) -> None:
        self.capable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
        self.theme = themes.choose(theme)
        self._console = themes.console()
        self._quiet = quiet
        self._bar = Bar(self._overwrite, lambda: self.size()[0], self.theme)
        self._out: TextIO = sys.stdout if sys.stdout.isatty() else sys.stderr  # of all that is no answer

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._out.fileno())
        except OSError:
            columns = rows = 0
        return columns or 80, rows or 24

    def answer(self) -> Written:
        """Shows the next answer."""
        if self.capable:
            return Answer(lambda text: draw(sys.stdout, text), self.size, self.theme, self._console)
        return _Plain()

    def block(self) -> Block:
        """Lines that may still change, on a terminal that can do that."""
        return Block(lambda text: draw(sys.stdout, text), self.size, self._console)

    def note(self, text: str, style: str = "quiet") -> None:
        """A remark, wrapped."""
        self.lines(markdown.wrap(self.theme.styled(harmless(text), style), max(self.size()[0] - 1, 1)))

    def error(self, text: str) -> None:
        self.note(f"localmix: {text}", "error")

    def lines(self, lines: list[Text]) -> None:
        """Lines as they are."""
        for line in lines:
            draw(self._out, (self._codes(line) if self.capable else line.plain) + "\n")

    def markdown(self, text: str) -> None:
        """Text as an answer is shown, all at once."""
        shown = self.answer()
        shown.add(text)
        shown.end()

    def progress(self, done: int, total: int) -> None:
        """How much of a prompt is read."""
        if self.capable and not self._quiet:
            self._bar(done, total)

    def end_progress(self) -> None:
        self._bar.end()

    def _overwrite(self, line: Text) -> None:
        draw(self._out, "\r\x1b[K" + self._codes(line))

    def _codes(self, line: Text) -> str:
        with self._console.capture() as capture:
            self._console.print(line, end="", soft_wrap=True)
        return capture.get()


class _Plain:
    """An answer on a terminal that can only write on, or in a file."""

    def add(self, piece: str) -> None:
        write(piece)

    def end(self) -> None:
        write("\n")
