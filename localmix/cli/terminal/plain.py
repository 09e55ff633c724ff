"""Asks for a message where the terminal can only write on: a line, or several that end in a backslash."""

import sys
from collections.abc import Callable

from localmix.cli.streams import draw, harmless
from localmix.cli.terminal.modes import Interrupts

SIGN = "> "
MORE = "  "  # before the further lines of a message


def reader(interrupts: Interrupts) -> Callable[[str], str]:
    """Asks for messages, as `localmix.cli.terminal.prompt.reader` does."""

    def read(first: str) -> str:
        with interrupts.told(interrupts.check):
            return _read(first)

    return read


def _read(first: str) -> str:
    """One line, or several that end in a backslash. `first` can only be shown."""
    if first:
        draw(sys.stderr, harmless(first) + "\n")
    lines: list[str] = []
    while True:
        draw(sys.stderr, MORE if lines else SIGN)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        lines.append(line.removesuffix("\n"))
        if not lines[-1].endswith("\\"):
            return "\n".join(lines)
        lines[-1] = lines[-1][:-1]
