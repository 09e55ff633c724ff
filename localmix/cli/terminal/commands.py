"""What begins with a slash: one table of commands, found by name, or answered with the nearest name."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localmix.cli.terminal import information, turns
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.cli.terminal.talk import Talk


@dataclass(frozen=True)
class Command:
    """`usage` is what follows the name; `run` takes the conversation and what was typed after the name."""

    usage: str
    does: str
    run: Callable[["Talk", str], None]
    path: bool = False  # whether it takes a file


def _help(talk: "Talk", rest: str) -> None:
    """Built from the table below."""
    rows = [(f"/{name} {command.usage}".rstrip(), command.does) for name, command in COMMANDS.items()]
    information.table(talk, [*rows, *_KEYS])


def _quit(talk: "Talk", rest: str) -> None:
    talk.left = True


COMMANDS = {
    "help": Command("", "this list", _help),
    "system": Command("[TEXT]", "show or set the system prompt; off removes it", information.system),
    "set": Command("[OPTION VALUE]", "show or set sampling options, such as /set temp 0.2", information.set_option),
    "regen": Command("", "another answer to the last question", turns.regen),
    "thought": Command("", "what the model thought before its last answer", turns.thought),
    "undo": Command("", "forget the last question and its answer", turns.undo),
    "edit": Command("[TEXT]", "change the last question and ask again", turns.edit),
    "save": Command("[NAME]", "save the conversation under a name", turns.save),
    "load": Command("[NAME]", "continue a saved conversation; without a name, list them", turns.load, path=True),
    "file": Command("PATH", "add a file to the next message", turns.file, path=True),
    "clear": Command("", "start a new conversation; the old one is kept", turns.clear),
    "stats": Command("", "tokens, speed, context and where things are kept", information.stats),
    "experts": Command("", "which experts served the last answer, layer by layer", information.experts),
    "model": Command("[MODEL]", "show the model, or switch to another one", information.model, path=True),
    "quit": Command("", "end the chat", _quit),
}
_ALIASES = {"exit": "quit", "bye": "quit", "reset": "clear", "new": "clear", "?": "help", "h": "help"}
_KEYS = [
    ("Alt-Enter, \\ Enter", "another line"),
    ("Ctrl-C", "stops an answer, which is kept; twice at the prompt quits"),
    ("Ctrl-D", "quits"),
    (" /text", "after a space: a message that starts with a slash"),
]


def obey(talk: "Talk", line: str) -> None:
    """Run a line that begins with a slash. LocalmixError: there is no such command, or what it says."""
    name, _, rest = line[1:].partition(" ")
    name, newline, more = name.partition("\n")
    found = COMMANDS.get(_ALIASES.get(name, name))
    if found is None:
        raise LocalmixError(unknown(name))
    found.run(talk, (more if newline else rest).strip())


def unknown(name: str) -> str:
    """What is said of a command that is none."""
    near = difflib.get_close_matches(name.lower(), [*COMMANDS, *_ALIASES], n=1, cutoff=0)
    return f"unknown command /{name}: did you mean /{near[0] if near else 'help'}? /help lists all"
