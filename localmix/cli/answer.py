"""Shows an answer as it is generated, and says how it came to be: a line on stderr, an object for programs."""

from typing import TYPE_CHECKING

from localmix.cli.streams import json_text, note, write

if TYPE_CHECKING:
    from localmix.answer.generate import Generation, Stats
    from localmix.model import Model

INTERRUPTED = 128 + 2  # exit code, as of a program that SIGINT ended


def show(model: "Model", answer: "Generation", as_json: bool, as_ndjson: bool = False) -> bool:
    """Write an answer, whether Ctrl-C ended it: piece by piece, as one line of JSON, or as a line a piece."""
    interrupted = False
    try:
        if as_ndjson:
            _stream(answer)
        else:
            for piece in answer:
                if not as_json:
                    write(piece)
    except KeyboardInterrupt:
        answer.close()
        interrupted = True
    if as_ndjson:
        write('{"event": "end", ' + to_json(model, answer).removeprefix("{"))
    else:
        write(to_json(model, answer) if as_json else "\n")
    if answer.reason == "context":
        note(f"localmix: the context of {answer.room} tokens is full: the answer is cut off")
    return interrupted


def _stream(answer: "Generation") -> None:
    """A line for each piece of text: its ids, and seconds since the beginning, the prompt's included."""
    written = 0
    for piece in answer:
        seconds = answer.stats.prompt_seconds + answer.stats.decode_seconds
        event = {"event": "text", "text": piece, "ids": answer.ids[written:], "seconds": round(seconds, 4)}
        written = len(answer.ids)
        write(json_text(event))


def to_json(model: "Model", answer: "Generation") -> str:
    """One line: the answer and how it came to be."""
    stats = answer.stats
    fields = {
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
    }
    return json_text(fields)


def summary(model: "Model", stats: "Stats", seed: int | None = None) -> str:
    """Backend, instruction set, threads, and how fast it was."""
    backend = model.backend
    parts = [
        backend.name,
        backend.isa,
        f"{backend.threads} thread{'s' * (backend.threads != 1)}",
        f"prompt {stats.prompt_tokens} tokens at {stats.prompt_rate:.1f} t/s",
        f"answer {stats.tokens} tokens at {stats.decode_rate:.1f} t/s",
    ]
    if stats.cached_tokens:
        parts.insert(4, f"{stats.cached_tokens} cached")
    if seed is not None:
        parts.append(f"seed {seed}")
    return "localmix: " + ", ".join(parts)
