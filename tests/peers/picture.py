"""The README's picture: a chat with the bundled model as a terminal shows it, and the experts that answered.

    python tests/peers/picture.py localmix/help/chat.svg

The program runs in a terminal of its own; what is on that terminal's screen is drawn. Needs pyte, as the tests do.
"""

import re
import sys
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[1]))
from screens import Screen

COLUMNS, ROWS = 80, 32
SAID = ("Who are you?", "Tell me a story about a cat", "/experts")
# No fonts from elsewhere: a picture in a page loads nothing, and every machine has some font for terminals.
FORMAT = re.sub(r"@font-face {{.*?}}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
_NAMES = {"brown": "yellow"}  # what pyte calls otherwise than rich


def styled(row: object, columns: int) -> Text:
    """A line of the screen with its colours."""
    text = Text()
    for x in range(columns):
        cell = row[x]  # type: ignore[index]
        colour = None if cell.fg == "default" else _NAMES.get(cell.fg, cell.fg)
        text.append(cell.data, Style(color=colour, bold=cell.bold, italic=cell.italics))
    text.rstrip()
    return text


def main(path: str) -> None:
    screen = Screen("chat", "--seed", 7, "--private", "--theme", "dark", columns=COLUMNS, rows=ROWS, COLORTERM="")
    try:
        for text in SAID:
            screen.say(text)
        screen.see(" t/s")
        buffer = screen._screen.buffer
        lines = [styled(buffer[y], COLUMNS) for y in range(ROWS)]
    finally:
        screen.close()
    while lines[-1].plain.strip() in ("", ">"):
        lines.pop()
    console = Console(file=StringIO(), width=COLUMNS, record=True, color_system="standard", force_terminal=True)
    console.print("$ localmix chat", style="bold")
    for line in lines:
        if line.plain.startswith("> "):
            line.stylize("bold green")
        console.print(line)
    Path(path).write_text(console.export_svg(title="localmix", theme=MONOKAI, code_format=FORMAT, unique_id="chat"))


if __name__ == "__main__":
    main(sys.argv[1])
