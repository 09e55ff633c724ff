"""Tables on stdout: drawn on a terminal, lines of tab-separated fields in a pipe, each with its table's title."""

import sys
from collections.abc import Collection, Mapping, Sequence

from localmix.cli.streams import write

Row = Sequence[str]
Tables = Mapping[str, tuple[Row, Sequence[Row]]]  # title -> head, rows


def show(tables: Tables, numbers: Collection[str]) -> None:
    """Write the tables that have rows; columns called as in `numbers` are flush right."""
    if sys.stdout.isatty():
        _draw(tables, numbers)
        return
    for title, (_, rows) in tables.items():
        write("".join("\t".join((title, *row)) + "\n" for row in rows))


def _draw(tables: Tables, numbers: Collection[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    wide = Console(width=10_000)
    for title, (head, rows) in tables.items():
        if not rows:
            continue
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for column in head:
            table.add_column(
                column, justify="right" if column in numbers else "left", no_wrap=column != "value", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(field) for field in row))  # Text: no markup is read from a file's strings
        least = Measurement.get(wide, wide.options, table).minimum
        Console(width=max(Console().width, least)).print(table)  # a line too long is better than a number cut short
