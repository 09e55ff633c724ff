"""Shows an answer as it is generated, and says how it came to be: a line on stderr, an object for programs."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localmix.cli.memory import kept
from localmix.cli.streams import json_text, note, write

if TYPE_CHECKING:
    from localmix.answer.generate import Generation, Stats
    from localmix.cli.terminal.spoken import Spoken
    from localmix.markup import Part
    from localmix.model import Model

INTERRUPTED = 128 + 2  # exit code, as of a program that SIGINT ended


def show(model: "Model", answer: "Generation", as_json: bool, as_ndjson: bool = False, *, unfold: bool = False) -> bool:
    """Write an answer, whether Ctrl-C ended it: piece by piece, as one line of JSON, or as a line a piece.

    `unfold`: thoughts are part of the text.
    """
    interrupted = False
    put: _Plain | _Lines | None = None if as_json else _Lines(answer) if as_ndjson else _Plain(unfold)
    try:
        for part in _parts(answer):
            if put is not None:
                put.add(part)
    except KeyboardInterrupt:
        answer.close()
        interrupted = True
    if put is not None:
        for part in getattr(answer, "rest", list)():
            put.add(part)
        put.end()
    if as_ndjson:
        write('{"event": "end", ' + to_json(model, answer).removeprefix("{"))
    else:
        write(to_json(model, answer) if as_json else "\n")
    if answer.reason == "context":
        note(f"localmix: the context of {answer.room} tokens is full: the answer is cut off")
    return interrupted


def _parts(answer: "Generation") -> "Iterator[Part]":
    """Text that continues a prompt has one kind of part only."""
    from localmix.markup import Said

    parts = getattr(answer, "parts", None)
    return parts() if parts is not None else (Said("content", piece) for piece in answer)


class _Plain:
    """Text as it comes. Thoughts are shown by a terminal, folded, and left out elsewhere unless they are wanted."""

    def __init__(self, unfold: bool) -> None:
        self._unfold = unfold
        self._thought: Spoken | None = None  # being shown by a terminal
        self._thinking = False  # written as text

    def add(self, part: "Part") -> None:
        kind = getattr(part, "kind", "call")
        if kind == "content":
            self.end()
            write(part.text)  # type: ignore[union-attr]
        elif kind == "reasoning" and sys.stdout.isatty():
            self._on_screen([part])
        elif kind == "reasoning" and self._unfold:
            write("" if self._thinking else "Thinking:\n")
            self._thinking = True
            write(part.text)  # type: ignore[union-attr]
        elif kind == "call":
            self.end()
            note(f"localmix: the model called a tool, but there are none here: {part.name} {part.arguments}")  # type: ignore[union-attr]

    def end(self) -> None:
        """A thought, if there is one, is over."""
        if self._thought is not None:
            self._thought.end()
        if self._thinking:
            write("\n\nAnswer:\n")
        self._thought, self._thinking = None, False

    def _on_screen(self, parts: "list[Part]") -> None:
        if self._thought is None:
            from localmix.cli.terminal.display import Display
            from localmix.cli.terminal.spoken import Spoken

            self._thought = Spoken(Display(), self._unfold, hint="--show-thinking keeps it")
        self._thought.add(parts)


class _Lines:
    """A line for each piece of text: its ids, and seconds since the beginning, the prompt's included."""

    def __init__(self, answer: "Generation") -> None:
        self._answer, self._written = answer, 0

    def add(self, part: "Part") -> None:
        answer = self._answer
        seconds = answer.stats.prompt_seconds + answer.stats.decode_seconds
        ids, self._written = answer.ids[self._written :], len(answer.ids)
        kind = {"content": "text", "reasoning": "thinking"}.get(getattr(part, "kind", ""), "call")
        write(json_text({"event": kind, **_told(part), "ids": ids, "seconds": round(seconds, 4)}))

    def end(self) -> None:
        """Nothing is held back."""


def _told(part: "Part") -> dict[str, str]:
    return {name: value for name, value in vars(part).items() if name != "kind"}


def to_json(model: "Model", answer: "Generation") -> str:
    """One line: the answer and how it came to be."""
    stats = answer.stats
    fields: dict[str, Any] = {
        "text": answer.text,
        "reason": answer.reason,
        "tokens": stats.tokens,
        "seed": answer.seed,
        "model": str(model.file.path),
        "backend": model.backend.name,
        "isa": model.backend.isa,
        "threads": model.backend.threads,
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "prompt_tokens_per_second": round(stats.prompt_rate, 2),
        "decode_tokens_per_second": round(stats.decode_rate, 2),
        "drafted_tokens": stats.drafted,
        "drafted_tokens_taken": stats.taken,
    }
    if thought := getattr(answer, "thought", ""):
        fields["thinking"] = thought
    if calls := getattr(answer, "calls", None):
        fields["calls"] = [vars(call) for call in calls]
    return json_text(fields)


def computed_by(model: "Model") -> str:
    """Backend, instruction set, and threads, which a server does not tell."""
    b = model.backend
    return f"{b.name}, {b.isa}" + (f", {b.threads} thread{'s' * (b.threads != 1)}" if b.threads else "")


def summary(model: "Model", stats: "Stats", seed: int | None = None, chosen: str = "") -> str:
    """Backend, instruction set, threads, and how fast it was; `chosen`: what the model's file decided."""
    parts = [
        computed_by(model),
        f"prompt {stats.prompt_tokens} tokens at {stats.prompt_rate:.1f} t/s",
        f"answer {stats.tokens} tokens at {stats.decode_rate:.1f} t/s",
    ]
    if stats.cached_tokens:
        parts.insert(2, f"{stats.cached_tokens} cached")
    if stats.taken:
        parts.append(f"{stats.taken} of {stats.drafted} drafted")
    if seed is not None:
        parts.append(f"seed {seed}")
    if chosen:
        parts.append(chosen)
    if place := kept(model):
        parts.insert(1, place)
    return "localmix: " + ", ".join(parts)
