"""Tables of the help pages that the program has the words for: `python tests/help/help_tables.py` writes them anew."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from localmix import help as pages
from localmix.cli.app import program
from localmix.cli.terminal.commands import COMMANDS

FOLDER = Path(pages.__file__).parent
GROUP: Any = get_command(program())
_PLACE = re.compile(r"(<!-- made by tests/help/help_tables\.py: (.+?) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A page with its tables as the program has them."""
    return _PLACE.sub(lambda found: found[1] + "\n" + table(found[2]) + "\n", text)


def table(what: str) -> str:
    """ "options x", "commands" or "commands of a chat"."""
    kind, _, rest = what.partition(" ")
    rows: dict[str, Callable[[], Iterator[tuple[str, ...]]]] = {
        "options": lambda: options(GROUP.commands[rest]),
        "commands": lambda: chat() if rest else commands(),
    }
    head = ("option", "default", "what it does") if kind == "options" else ("command", "what it does")
    lines = [head, ("---",) * len(head), *rows[kind]()]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def options(command: Any) -> Iterator[tuple[str, ...]]:
    """Arguments first."""
    for one in command.params:
        if one.param_type_name == "argument":
            yield f"`{one.metavar}`", default(one), one.help
    for one in command.params:
        if one.param_type_name == "option" and "--help" not in one.opts:
            names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
            yield (names[:-1] + f" {one.metavar}`" if one.metavar else names), default(one), one.help


def default(one: Any) -> str:
    """What holds without it."""
    if isinstance(one.show_default, str):
        return one.show_default
    value = one.default() if callable(one.default) else one.default
    if one.required:
        return "required"
    return "" if value is None else {True: "on", False: "off"}.get(value, str(value)) if is_flag(one) else str(value)


def is_flag(one: Any) -> bool:
    return bool(getattr(one, "is_flag", False))


def commands() -> Iterator[tuple[str, ...]]:
    for name, command in GROUP.commands.items():
        arguments = (one for one in command.params if one.param_type_name == "argument")
        usage = " ".join(one.metavar if one.required else f"[{one.metavar}]" for one in arguments)
        yield f"`localmix {name} {usage}".rstrip() + "`", command.help.partition("\n\n")[0].replace("\n", " ")


def chat() -> Iterator[tuple[str, ...]]:
    for name, command in COMMANDS.items():
        yield f"`/{name} {command.usage}".rstrip() + "`", command.does


if __name__ == "__main__":
    for path in FOLDER.glob("*.md"):
        path.write_text(filled(path.read_text()))
