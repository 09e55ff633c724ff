"""The loop of a conversation: ask for a message, obey it if it is a command, else answer it and keep the turn.

Ctrl-C during an answer keeps what there is of it; two in a row leave.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from localmix.cli.terminal import commands, information
from localmix.cli.terminal.modes import quiet
from localmix.cli.terminal.talk import FULL, Talk
from localmix.conversation import shelf
from localmix.errors import ContextFullError, LocalmixError

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer


def run(talk: Talk, read: Callable[[str], str]) -> None:
    """Until the user leaves. `read` asks for a message, given what stands there at first."""
    with quiet(talk.interrupts, capable=talk.display.capable):
        while not talk.left:
            try:
                _step(talk, read)
            except (EOFError, KeyboardInterrupt):
                return


def _step(talk: Talk, read: Callable[[str], str]) -> None:
    """One turn. What goes wrong is said, and so is a first Ctrl-C; KeyboardInterrupt: that was the second."""
    try:
        _turn(talk, read)
        talk.interrupts.check()
    except LocalmixError as error:
        talk.display.error(f"{error}{f'; {FULL}' if isinstance(error, ContextFullError) else ''}")
    except KeyboardInterrupt:
        if talk.interrupted:
            raise
        talk.interrupted = True
        talk.display.note("press Ctrl-C again to quit")


def _turn(talk: Talk, read: Callable[[str], str]) -> None:
    draft, talk.draft = talk.draft, None
    text = read(draft or "")
    talk.interrupted = False
    if text.startswith("/"):
        commands.obey(talk, text)
    elif text.strip():
        talk.ask(text.strip(), instead=draft is not None)


def completer(talk: Talk) -> "Completer":
    """Completes what commands take."""
    from localmix.cli.terminal.completion import Commands

    arguments = {"set": lambda: [*information.NAMES, "think", "reasoning_effort"], "load": shelf.names}
    paths = (name for name, command in commands.COMMANDS.items() if command.path)
    return Commands(commands.COMMANDS, arguments, paths)
