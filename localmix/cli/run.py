"""`localmix run`: one prompt and its answer, or a file of prompts answered together."""

import stat
import sys
from os import fstat
from typing import Annotated

import typer

from localmix.cli.answer import INTERRUPTED, show, summary
from localmix.cli.parameters import Answering, Draft, Engine, Held, Json, Many, NdJson, Output, System, Thinking
from localmix.cli.streams import decoded, note, prompt_progress, received
from localmix.errors import LocalmixError

_NO_PROMPT = "no prompt given: reading it from stdin, up to its end"
_MORE = "waiting for the end of stdin, whose text follows the prompt: add </dev/null if there is none"


def run(
    engine: Engine,
    answering: Answering,
    output: Output,
    held: Held,
    many: Many,
    thinking: Thinking,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to say. Text piped to stdin follows it.")
    ] = None,
    system: System = None,
    draft: Draft = "auto",
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as it is, without a template.")] = False,
    as_json: Json = False,
    as_ndjson: NdJson = False,
) -> None:
    """Answer one prompt, or all of a file, several at once.

    Examples: localmix run "Tell me a story about a cat", cat notes.txt | localmix run "Summarise:",
    localmix run --file prompts.jsonl -o answers.jsonl.
    """
    if raw and system:
        raise LocalmixError("--system with --raw: a raw prompt has no place for it: put it into the prompt itself")
    options = answering.options() | held.options()
    if many.file is not None:
        if prompt is not None or as_ndjson:
            raise LocalmixError(f"--file with {'--ndjson' if as_ndjson else 'a prompt'}: leave one of them out")
        from localmix.cli import together
        from localmix.conversation.requests import Reader

        model = engine.load(draft=draft)
        reader = Reader(model, options, answering.context, system, raw, **thinking.options())
        if together.answer(reader, model, many, output.quiet):
            raise typer.Exit(INTERRUPTED)
        return
    if many.out is not None:
        raise LocalmixError("-o without --file: one answer goes to stdout: redirect it with > FILE")
    text = _joined(prompt, _piped(prompt))
    if not raw and not text.strip():
        raise LocalmixError("the prompt is empty: give it some text, or use --raw to let the model start on its own")
    model = engine.load(draft=draft)
    progress = None if output.quiet else prompt_progress
    if raw:
        answer = model.generate(text, context=answering.context, progress=progress, **options)
    else:
        chat = model.chat(system, context=answering.context, **thinking.options())
        answer = chat.send(text, progress=progress, **options)
    interrupted = show(model, answer, as_json, as_ndjson, unfold=thinking.show_thinking)
    if not output.quiet:
        note(summary(model, answer.stats, answer.seed if answer.options.temp else None, model.defaults.said(options)))
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _joined(prompt: str | None, piped: str | None) -> str:
    if prompt is None and piped is None:
        raise LocalmixError('no prompt: expected one, as in localmix run "Hello", or text on stdin')
    return "\n".join(part for part in (prompt, piped) if part)


def _piped(prompt: str | None) -> str | None:
    """All of stdin, if something is piped into it."""
    kind = fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)):
        return None
    waiting = _NO_PROMPT if prompt is None else _MORE
    return decoded(received(f"localmix: {waiting}"))
