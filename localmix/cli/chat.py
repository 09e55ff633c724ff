"""`localmix chat`: a conversation, in a terminal or with one line of stdin after the other."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localmix.cli.answer import INTERRUPTED, show, summary
from localmix.cli.parameters import Answering, Draft, Engine, Json, ModelArgument, Output, System, Thinking
from localmix.cli.paths import squeezed
from localmix.cli.streams import decoded, note, prompt_progress
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.answer.generate import Stats
    from localmix.conversation.chat import Chat
    from localmix.conversation.shelf import Keeper
    from localmix.model import Model

Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the latest conversation, or the one named in place of MODEL.")
]
WhenFull = Annotated[
    str, typer.Option("--when-full", metavar="HOW", help="stop, drop the oldest turns, or shift out the oldest tokens.")
]
Private = Annotated[bool, typer.Option("--private", help="Save neither the conversation nor the history.")]
Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="Talk with a server's model.", show_default="none")
]
ApiKey = Annotated[str | None, typer.Option("--api-key", metavar="KEY", help="The key that the server expects.")]
Theme = Annotated[str, typer.Option("--theme", metavar="NAME", help="auto, dark, light or mono.")]


def chat(
    engine: Engine,
    answering: Answering,
    output: Output,
    thinking: Thinking,
    path: ModelArgument = None,
    system: System = None,
    draft: Draft = "auto",
    resume: Resume = False,
    when_full: WhenFull = "stop",
    private: Private = False,
    theme: Theme = "auto",
    server: Server = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Talk with a model.

    In a terminal /help shows what there is. Without one each line of stdin is answered: echo hi | localmix chat. With
    --server the model is one that a server has, and nothing is kept on this disk.
    """
    if server is not None:
        if resume or path is not None:
            raise LocalmixError(f"--server with {'--resume' if resume else path}: leave one of them out")
        _talk_to(server, api_key, answering, engine, output, thinking, system, theme, as_json)
        return
    from localmix.conversation import record as saved
    from localmix.conversation import shelf as sessions

    options = answering.options()
    kept = sessions.find(None if path is None else str(path)) if resume else None
    if kept is not None:
        path = saved.read(kept).file if engine.model is None else None
    model = engine.load(path, draft)
    conversation = model.chat(
        None, context=answering.context, when_full=when_full, notice=_notice, **thinking.options()
    )
    if kept is not None and (said := saved.load(kept, conversation)):
        _notice(said)
    if system is not None:
        conversation.system = system
    keeper = None if private else sessions.Keeper(kept)
    if sys.stdin.isatty() and not as_json:
        total = _talk(conversation, options, lambda file: engine.other(file, draft), output, thinking, keeper, theme)
    else:
        total = _answer_lines(conversation, options, output, keeper if resume else None, as_json, thinking)
    if not output.quiet:
        note(summary(model, total, chosen=model.defaults.said(options)))


def _talk_to(
    url: str,
    key: str | None,
    answering: Answering,
    engine: Engine,
    output: Output,
    thinking: Thinking,
    system: str | None,
    theme: str,
    as_json: bool,
) -> None:
    """With a server's model, in the same terminal."""
    from localmix.conversation.remote import RemoteChat, RemoteModel
    from localmix.conversation.remote_server import Server

    conversation: Any = RemoteChat(RemoteModel(Server(url, key)), system, _notice)
    conversation.think_so(**thinking.options())
    if sys.stdin.isatty() and not as_json:
        total = _talk(conversation, answering.options(), engine.other, output, thinking, None, theme)
    else:
        total = _answer_lines(conversation, answering.options(), output, None, as_json, thinking)
    if not output.quiet:
        note(summary(conversation.model, total))


def _talk(
    conversation: "Chat",
    options: dict[str, Any],
    load: Callable[[Path], "Model"],
    output: Output,
    thinking: Thinking,
    keeper: "Keeper | None",
    theme: str,
) -> "Stats":
    """In a terminal."""
    from localmix.cli.terminal import loop
    from localmix.cli.terminal.display import Display
    from localmix.cli.terminal.talk import Talk
    from localmix.conversation import shelf as sessions

    display = Display(theme, output.quiet)
    talk = Talk(conversation, options, display, keeper, load)
    talk.unfold = thinking.show_thinking
    if display.capable:
        from localmix.cli.terminal import prompt

        history = None if keeper is None else sessions.state() / "history"
        read = prompt.reader(history, loop.completer(talk), talk.status if not output.quiet else None, talk.interrupts)
    else:
        from localmix.cli.terminal import plain

        read = plain.reader(talk.interrupts)
    if not output.quiet:
        display.note(_head(conversation.model, display.size()[0]))
        if said := conversation.model.defaults.said(options):
            display.note(said)
    if conversation.messages:
        talk.show_end()
    loop.run(talk, read)
    kept = talk.keeper and talk.keeper.file
    if keeper is not None and kept and os.path.exists(kept) and not output.quiet:
        name = sessions.name(kept)
        which = "" if name in sessions.names()[:1] else f" {shlex.quote(name)}"
        note(f"localmix: saved as {name}: continue with localmix chat --resume{which}")
    return talk.total


def _head(model: "Model", columns: int) -> str:
    """One line: the model, what computes it, and where help is."""
    rest = f" on {model.backend.name}: /help for help, Ctrl-D to quit"
    return squeezed(model.file.path.name.removesuffix(".gguf"), columns - 1 - len(rest)) + rest


def _answer_lines(
    conversation: "Chat",
    options: dict[str, Any],
    output: Output,
    keeper: "Keeper | None",
    as_json: bool,
    thinking: Thinking,
) -> "Stats":
    """Without a terminal. A conversation that was resumed is kept."""
    from localmix.answer.generate import Stats

    total = Stats()
    for text in _lines():
        answer = conversation.send(text, progress=None if output.quiet else prompt_progress, **options)
        interrupted = show(conversation.model, answer, as_json, unfold=thinking.show_thinking)
        total += answer.stats
        if keeper is not None and (said := keeper.keep(conversation)):
            _notice(said)
        if interrupted:
            raise typer.Exit(INTERRUPTED)
    return total


def _notice(text: str) -> None:
    note(f"localmix: {text}")


def _lines() -> Iterator[str]:
    """Each line of stdin that says something."""
    return filter(str.strip, map(decoded, sys.stdin.buffer))
