"""An answer's parts as they come: what is said as Markdown, thoughts folded into a line, calls of tools named."""

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from localmix.cli.streams import harmless
from localmix.cli.terminal import markdown
from localmix.cli.terminal.screen import PAUSE
from localmix.markup import Call, Part

if TYPE_CHECKING:
    from localmix.cli.terminal.display import Display, Written

_LINES = 5  # of a thought that are shown while it grows


class Spoken:
    """`unfold`: thoughts stay whole. A terminal that cannot move its cursor shows only that there were any."""

    def __init__(self, display: "Display", unfold: bool = False, *, hint: str = "/thought shows it") -> None:
        self._display, self._unfold, self._hint = display, unfold, hint
        self._text: Written | None = None
        self._thought: Thought | None = None
        self._empty = True

    def add(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._empty = False
            if isinstance(part, Call):
                self._end()
                self._display.note(f"the model called a tool, but there are none here: {part.name} {part.arguments}")
            elif part.kind == "content":
                self._end_thought()
                self._text = self._text or self._display.answer()
                self._text.add(part.text)
            else:
                self._end_text()
                self._thought = self._thought or Thought(self._display, self._unfold, self._hint)
                self._thought.add(part.text)

    def end(self) -> None:
        """No more comes; the cursor is at the beginning of a line."""
        self._end()
        if self._empty:
            self._display.answer().end()

    def _end(self) -> None:
        self._end_thought()
        self._end_text()

    def _end_text(self) -> None:
        if self._text is not None:
            self._text.end()
        self._text = None

    def _end_thought(self) -> None:
        if self._thought is not None:
            self._thought.end()
        self._thought = None


class Thought:
    """A thought that grows: its last lines, dimmed, and once it ends one line about it."""

    def __init__(self, display: "Display", unfold: bool, hint: str) -> None:
        self._display, self._unfold, self._hint = display, unfold, hint
        self._block = display.block() if display.capable else None
        self._source, self._began, self._drawn = "", monotonic(), 0.0

    def add(self, text: str) -> None:
        self._source += text
        if monotonic() - self._drawn >= PAUSE:
            self._draw()

    def end(self) -> None:
        if self._unfold and self._block is not None:
            self._draw()
        elif self._unfold:
            self._display.note(self._source.strip())
        if self._unfold or not self._source.strip():
            self._finish()
            return
        seconds, words = monotonic() - self._began, len(self._source.split())
        said = f"thought for {seconds:.1f} s, {words} word{'s' * (words != 1)}: {self._hint}"
        if self._block is None:
            self._display.note(said)
        else:
            self._block.draw([self._display.theme.styled(said, "quiet")])
            self._finish()

    def _finish(self) -> None:
        if self._block is not None:
            self._block.finish()

    def _draw(self) -> None:
        if self._block is None:
            return
        shown = self._source.strip()
        if not self._unfold:
            shown = shown[-_LINES * self._display.size()[0] :]  # what comes before is out of sight
        columns = max(min(self._display.size()[0] - 1, markdown.WIDEST), 1)
        lines = markdown.wrap(self._display.theme.styled(harmless(shown), "quiet"), columns)
        self._block.draw(lines if self._unfold else [line for line in lines if line][-_LINES:])
        self._drawn = monotonic()
