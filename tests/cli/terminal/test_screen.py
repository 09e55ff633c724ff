"""Markdown that arrives in pieces, on a terminal whose screen is looked at."""

from pathlib import Path

import pyte
import pytest
from rich.console import Console

from localmix.cli.terminal import screen, themes

SAMPLE = (Path(__file__).parents[2] / "data" / "screens" / "sample.md").read_text()


class Drawn:
    """Draws a text in pieces of `step` characters; `sizes` tells the size of the window before each."""

    def __init__(self, text: str, step: int, *sizes: tuple[int, int], colours: bool = True) -> None:
        self.size = sizes[0]
        self.written: list[str] = []
        self.terminal = pyte.HistoryScreen(*self.size, history=10_000)
        self.terminal.set_mode(pyte.modes.LNM)  # a line feed returns, as a terminal's driver has it
        self._stream = pyte.Stream(self.terminal)
        console = Console(force_terminal=True, color_system="standard" if colours else None, highlight=False)
        answer = screen.Answer(self.write, lambda: self.size, themes.choose("dark"), console)
        for index, at in enumerate(range(0, len(text), step)):
            if (size := sizes[min(index, len(sizes) - 1)]) != self.size:
                self.size = size
                self.terminal.resize(size[1], size[0])
            answer.add(text[at : at + step])
        answer.end()

    def write(self, text: str) -> None:
        self.written.append(text)
        self._stream.feed(text)

    @property
    def lines(self) -> list[str]:
        above = ["".join(row[x].data for x in range(self.terminal.columns)) for row in self.terminal.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self.terminal.display]).rstrip().split("\n")


@pytest.fixture(autouse=True)
def every_piece_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PAUSE", -1.0)


@pytest.mark.parametrize("size", [(60, 12), (20, 5), (100, 30), (33, 8)])
def test_pieces_leave_the_screen_as_all_at_once_does(size: tuple[int, int]) -> None:
    whole = Drawn(SAMPLE, len(SAMPLE), size)
    for step in (1, 2, 7, 31):
        assert Drawn(SAMPLE, step, size).lines == whole.lines


def test_the_screen() -> None:
    expected = (Path(__file__).parents[2] / "data" / "screens" / "sample-60.txt").read_text()
    assert "\n".join(Drawn(SAMPLE, 3, (60, 12)).lines) + "\n" == expected


def test_nothing_flickers() -> None:
    """Little is written twice, nothing is erased that is not written again in the same breath."""
    drawn = Drawn(SAMPLE, 3, (60, 40), colours=False)
    assert sum(map(len, drawn.written)) < 4 * len(SAMPLE)
    for out in drawn.written:
        assert "\x1b[2J" not in out
        assert out.count("\x1b[?2026h") == out.count("\x1b[?2026l") == ("\x1b[" in out)
        assert out.find("\x1b[J") in (-1, len(out) - len("\x1b[J\x1b[?2026l"))  # the end, after the new lines
    plain = Drawn("word " * 200, 5, (60, 40), colours=False)
    assert not any("\x1b" in out for out in plain.written)  # plain text is only appended


@pytest.mark.parametrize("after", [(30, 12), (90, 12), (60, 6), (12, 40)])
def test_a_window_that_changes_loses_and_doubles_nothing(after: tuple[int, int]) -> None:
    text = "".join(f"word{i} " for i in range(150)) + "\n\n- " + "".join(f"item{i} " for i in range(40))
    for at in (5, 40, 90):
        drawn = Drawn(text, 7, *[(60, 12)] * at, after)
        # The terminal here cuts lines that are too long, and real ones break them: look at what was written.
        tall = pyte.HistoryScreen(90, 12, history=10_000)
        tall.set_mode(pyte.modes.LNM)
        pyte.Stream(tall).feed("".join(drawn.written))
        above = ["".join(row[x].data for x in range(90)) for row in tall.history.top]
        letters = "".join("".join([*above, *tall.display]).split())
        assert letters == "".join(text.replace("- ", "• ").split())


def test_marks_found_late_show_all_of_the_block() -> None:
    """A mark that closes when its beginning has left the screen."""
    text = "**" + "word " * 60 + "end** and more"
    lines = Drawn(text, 3, (20, 5)).lines
    assert " ".join(" ".join(lines).split()).endswith("word " * 60 + "end and more")
