"""Draws a text that grows: what is finished is written once, and of the last block only the lines that changed.

Nothing is erased before something else is there, so that nothing flickers. Lines that have left the screen, or
whose place is unknown since the window became narrower, are never touched again: the text goes on below them.
"""

from collections.abc import Callable
from time import monotonic

from rich.console import Console
from rich.text import Text

from localmix.cli.terminal import markdown
from localmix.cli.terminal.themes import Theme

PAUSE = 1 / 30  # seconds between two drawings
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # terminals that know these show what is between at once
Size = Callable[[], tuple[int, int]]  # columns and rows


class Answer:
    """The Markdown of one answer, as it arrives."""

    def __init__(self, write: Callable[[str], None], size: Size, theme: Theme, console: Console) -> None:
        self._block = Block(write, size, console)
        self._write, self._size, self._theme = write, size, theme
        self._source = ""  # of the block that may still grow
        self._drawn = 0.0
        self._blank = False  # an empty line is due before the next block

    def add(self, piece: str) -> None:
        """More text. Drawn at once, but not more often than an eye can see."""
        self._source = (self._source + piece).replace("\r\n", "\n")
        if monotonic() - self._drawn >= PAUSE:
            self._draw()

    def end(self) -> None:
        """Draw what is left; the cursor is then at the beginning of a line."""
        self._draw()
        self._block.finish()
        self._source = ""

    def _draw(self) -> None:
        finished, self._source = markdown.split(self._source)
        if finished:
            self._block.draw(self._lines(finished))
            self._block.finish()
            self._blank = not finished.removesuffix("\n").rpartition("\n")[2].strip()
        self._block.draw(self._lines(self._source))
        self._drawn = monotonic()

    def _lines(self, source: str) -> list[Text]:
        found = markdown.lines(source, self._size()[0], self._theme)
        return [Text(), *found] if self._blank and found else found


class Block:
    """Lines at the end of the screen that may still change. The cursor stays after the last one."""

    def __init__(self, write: Callable[[str], None], size: Size, console: Console) -> None:
        self._write, self._size, self._console = write, size, console
        self._columns = size()[0]
        self._shown: list[Text] = []
        self._gone = ""  # what of this block is out of reach, spaces left out

    def draw(self, lines: list[Text]) -> None:
        """Show `lines` in the place of those shown before."""
        self._resized()
        lines = self._reachable(lines)
        same = _common(self._shown, lines)
        if same < len(self._shown):
            out = self._again(lines, same)
        elif same < len(lines):
            out = "\n" * bool(self._shown) + "\n".join(map(self._codes, lines[same:]))
        else:
            return
        self._shown = lines
        self._write(out)
        self._leave_above()

    def finish(self) -> None:
        """These lines are final; the cursor goes to the next one."""
        if self._shown:
            self._write("\n")
        self._shown, self._gone = [], ""

    def _again(self, lines: list[Text], same: int) -> str:
        """Lines from `same` on, written over the old ones."""
        last = self._shown[-1]
        if same == len(self._shown) - 1 and same < len(lines) and _grown(last, lines[same]):
            return "\n".join(map(self._codes, [lines[same][len(last) :], *lines[same + 1 :]]))
        same = min(same, max(len(lines) - 1, 0))  # the cursor ends after the last line: write at least that
        up = sum(map(self._rows, self._shown[same:])) - 1
        out = [_BEGIN, f"\x1b[{up}A" * bool(up), "\r"]
        for index, line in enumerate(lines[same:] or [Text()], same):
            out.append("\n" * (index > same))
            last_one = index >= len(lines) - 1
            # Behind a full line the cursor waits in the last column, which erasing would take away.
            if line.cell_len and line.cell_len % self._columns == 0:
                out += ["\x1b[J" * last_one, self._codes(line)]
            else:
                out += [self._codes(line), "\x1b[J" if last_one else "\x1b[K"]
        return "".join([*out, _END])

    def _resized(self) -> None:
        """In a narrower window lines may have been broken or cut: nobody knows where the block begins."""
        columns, before = self._size()[0], self._columns
        self._columns = columns
        if self._shown and (columns < before or (columns > before and max(t.cell_len for t in self._shown) > before)):
            self._gone += _letters(self._shown)
            self._shown = []
            self._write("\n")

    def _reachable(self, lines: list[Text]) -> list[Text]:
        """What of `lines` comes after all that is out of reach."""
        if not self._gone:
            return lines
        if not _letters(lines).startswith(self._gone):  # other marks were found in it: show all of it again
            self._gone = ""
            self._write("\n" * bool(self._shown))
            self._shown = []
            return lines
        left = len(self._gone)
        for index, line in enumerate(lines):
            if not left:
                return lines[index:]
            letters = _letters([line])
            if len(letters) > left:
                place = [at for at, sign in enumerate(line.plain) if not sign.isspace()][left]
                return [line[place:], *lines[index + 1 :]]
            left -= len(letters)
        return []

    def _leave_above(self) -> None:
        """Lines that the next one may push off the screen are out of reach from now on."""
        room = max(self._size()[1] - 1, 1)
        while len(self._shown) > 1 and sum(map(self._rows, self._shown)) > room:
            self._gone += _letters(self._shown[:1])
            del self._shown[0]

    def _rows(self, line: Text) -> int:
        return max(-(-line.cell_len // self._columns), 1)

    def _codes(self, line: Text) -> str:
        with self._console.capture() as capture:
            self._console.print(line, end="", soft_wrap=True)
        return capture.get()


def _common(old: list[Text], new: list[Text]) -> int:
    """With how many equal lines both begin."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((i for i, (a, b) in pairs if not _alike(a, b)), min(len(old), len(new)))


def _alike(a: Text, b: Text) -> bool:
    return a.plain == b.plain and a.style == b.style and a.spans == b.spans


def _grown(old: Text, new: Text) -> bool:
    """Whether `new` is `old` and more, so that only the rest must be written."""
    return len(old) < len(new) and _alike(old, new[: len(old)])


def _letters(lines: list[Text]) -> str:
    """All that is the same however wide the window is: signs without spaces, and empty lines."""
    return "".join("".join(line.plain.split()) or "\n" for line in lines)
