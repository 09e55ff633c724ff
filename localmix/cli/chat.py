"""`localmix chat`: a conversation, in a terminal or with one line of stdin after the other."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from localmix.cli.answer import INTERRUPTED, show, summary
from localmix.cli.parameters import Answering, Engine, Json, ModelArgument, Output, System
from localmix.cli.streams import decoded, note, prompt_progress
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.session import Chat

_PROMPT = "> "
_HELP = "/reset forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C ends an answer"


def chat(
    engine: Engine,
    answering: Answering,
    output: Output,
    path: ModelArgument = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Talk with a model.

    Without a terminal each line of stdin is answered: echo hi | localmix chat.
    """
    from localmix.generate import Stats

    options = answering.options()
    model = engine.load(path)
    conversation = model.chat(system, context=answering.context)
    total = Stats()
    terminal = sys.stdin.isatty()
    if terminal and not output.quiet:
        note(f"{model.file.path}: {_HELP}")
    for text in _typed(conversation) if terminal else _piped():
        try:
            progress = None if output.quiet else prompt_progress
            answer = conversation.send(text, progress=progress, **options)
            interrupted = show(model, answer, as_json)
        except LocalmixError as error:
            if not terminal:
                raise
            note(f"localmix: {error}")
            continue
        total += answer.stats
        if interrupted and not terminal:
            raise typer.Exit(INTERRUPTED)
    if not output.quiet:
        note(summary(model, total))


def _piped() -> Iterator[str]:
    """Each line of stdin that says something."""
    return filter(str.strip, map(decoded, sys.stdin.buffer))


def _typed(conversation: "Chat") -> Iterator[str]:
    """What is typed, until Ctrl-D or a Ctrl-C; commands are obeyed."""
    read = _reader()
    while True:
        try:
            text = read().strip()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        if text in ("/exit", "/quit"):
            return
        if text == "/reset":
            conversation.reset()
        elif text.startswith("/"):
            note(_HELP)
        elif text:
            yield text


def _reader() -> Callable[[], str]:
    """Asks for a message: with editing, history and pasting of many lines where the terminal can do that."""
    if os.environ.get("TERM", "dumb") == "dumb" or not sys.stdout.isatty():
        return _read_line
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    return lambda: session.prompt(_PROMPT)


def _read_line() -> str:
    sys.stderr.write(_PROMPT)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
