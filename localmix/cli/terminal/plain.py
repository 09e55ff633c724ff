"""Asks for a message where the terminal can only write on: a line, or several that end in a backslash."""

import sys

from localmix.cli.streams import draw, harmless

SIGN = "> "
MORE = "  "  # before the further lines of a message


def read(first: str) -> str:
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
