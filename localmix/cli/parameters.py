"""The options that several commands share, each declared once. Groups of them are dataclasses: see groups.py."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localmix import notices
from localmix.answer.options import PARALLEL, Options
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.measure.windows import Window
    from localmix.model import Model

_RULE = re.compile(r"::=|^\s*start\s*:", re.MULTILINE)  # of a grammar: GBNF, Lark


def all_if_zero(value: int | None) -> int | None:
    """For 0, which llama.cpp's users write, what holds without the option."""
    return value or None


def all_below_one(value: int | None) -> int | None:
    """For 0 and -1 what holds without the option."""
    return None if value is None or value < 1 else value


def _unless_named(context: typer.Context, value: Path | None) -> Path | None:
    """What -m says; None where only a setting says so, and the command line names a model or a conversation."""
    source = context.get_parameter_source("model")
    named = any(map(context.params.get, ("path", "resume", "synthetic")))
    return None if named and source is not None and source.name != "COMMANDLINE" else value


ModelArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL", help="A GGUF file, or the name of a pulled model.", show_default="the bundled model"
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        help="A GGUF file, or the name of a pulled model.",
        show_default="the bundled model",
        callback=_unless_named,
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="numba, mlx or reference.", show_default="the fastest here"),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "-t", "--threads", min=-1, callback=all_below_one, help="Threads.", show_default="one per physical core"
    ),
]
Ram = Annotated[
    str | None,
    typer.Option(
        "--ram",
        metavar="SIZE",
        help="Most memory: experts beyond it stream from the disk.",
        show_default="what is free",
    ),
]
TextFile = Annotated[Path, typer.Argument(metavar="TEXT", help="A file of plain text.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a report with pictures, one file for a browser.")
]
KeysValues = Annotated[str, typer.Option("--kv", metavar="KIND", help="Keys and values as f16, f32, q8_0 or q4_0.")]
Draft = Annotated[
    str,
    typer.Option(
        "--draft", metavar="HOW", help="Check likely ids together: auto, off, lookup (in the text), or a MODEL's."
    ),
]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system prompt.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


NdJson = Annotated[bool, typer.Option("--ndjson", help="Write a line of JSON for each piece, and one at the end.")]


def _hush(quiet: bool) -> bool:
    notices.quiet = quiet
    return quiet


@dataclass(frozen=True)
class Output:
    """What is said on stderr."""

    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", callback=_hush, help="No progress and no timings on stderr.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False  # see cli.main


@dataclass(frozen=True)
class Engine:
    """Which model, and what computes it."""

    model: ModelOption = None
    backend: BackendOption = None
    threads: Threads = None
    kv: KeysValues = "f16"
    ram: Ram = None

    def load(self, path: Path | None = None, draft: str = "auto") -> "Model":
        """The model: `path` is the command's MODEL argument, if it has one."""
        return self.other(chosen(path, self.model), draft)

    def other(self, path: Path | None, draft: str = "auto") -> "Model":
        """Another model, computed the same way; None: the bundled one."""
        from localmix.cli.memory import loaded

        return loaded(path, self.backend, self.threads, self.kv, self.ram, draft=draft)


@dataclass(frozen=True)
class Reading:
    """How a text is cut into windows of tokens."""

    context: Annotated[int, typer.Option("-c", "--ctx", min=0, help="Tokens per window; 0: all the model has.")] = (
        512  # as llama.cpp
    )
    chunks: Annotated[
        int | None,
        typer.Option("--chunks", min=-1, callback=all_below_one, help="Most windows to read.", show_default="all"),
    ] = None

    def windows(self, model: "Model", text: Path) -> "list[Window]":
        """The windows of the text in a file."""
        from localmix.measure import windows

        return windows.cut(model.tokenizer, windows.read_text(text), self.length(model), self.chunks)

    def length(self, model: "Model") -> int:
        """Tokens per window."""
        return self.context or model.network.context


def _chosen(option: str, default: float, help: str) -> Any:
    """An option that a model's file may have a default for; else it is `default`."""
    return typer.Option(option, help=help, show_default=f"{default}, or the file's")


@dataclass(frozen=True)
class Answering:
    """How an answer is chosen and when it ends."""

    max_tokens: Annotated[
        int | None,
        typer.Option("-n", "--max-tokens", help="Most tokens in an answer; -1: no limit.", show_default="no limit"),
    ] = Options.max_tokens
    context: Annotated[
        int | None,
        typer.Option(
            "-c", "--ctx", callback=all_if_zero, help="Tokens of context; 0: all.", show_default="all the model has"
        ),
    ] = None
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="Stop before this text. May be repeated.")
    ] = None
    temp: Annotated[float | None, _chosen("--temp", Options.temp, "Temperature; 0 takes the most likely.")] = None
    top_k: Annotated[int | None, _chosen("--top-k", Options.top_k, "Keep the k most likely tokens; 0: all.")] = None
    top_p: Annotated[float | None, _chosen("--top-p", Options.top_p, "Keep the most likely up to this total.")] = None
    min_p: Annotated[float | None, _chosen("--min-p", Options.min_p, "Drop those below this share of the best.")] = None
    repeat_penalty: Annotated[
        float | None,
        _chosen("--repeat-penalty", Options.repeat_penalty, "Divide the logits of recent tokens; 1: off."),
    ] = None
    repeat_last_n: Annotated[
        int | None,
        _chosen("--repeat-last-n", Options.repeat_last_n, "How many tokens count as recent; -1: all."),
    ] = None
    seed: Annotated[
        int | None, typer.Option("-s", "--seed", help="Same seed, same text; -1: a new one.", show_default="a new one")
    ] = Options.seed

    def options(self) -> dict[str, Any]:
        """The fields of `Options` that are given, checked, for `generate` and `send`."""
        known = {name: value for name, value in vars(self).items() if name in Options.__dataclass_fields__}
        given = {name: value for name, value in known.items() if value not in (None, [])}
        return {name: value for name, value in vars(Options(**given)).items() if name in given}


@dataclass(frozen=True)
class Thinking:
    """Whether a model thinks before it answers, how much, and who sees it."""

    think: Annotated[
        bool | None,
        typer.Option("--think/--no-think", help="Think before answering, or not.", show_default="as the model likes"),
    ] = None
    reasoning_effort: Annotated[
        str | None,
        typer.Option(
            "--reasoning-effort", metavar="HOW", help="low, medium or high.", show_default="as the model likes"
        ),
    ] = None
    show_thinking: Annotated[bool, typer.Option("--show-thinking", help="Write thoughts whole, also into a pipe.")] = (
        False
    )

    def options(self) -> dict[str, Any]:
        """For `Model.chat`."""
        return {"think": self.think, "effort": self.reasoning_effort}


@dataclass(frozen=True)
class Many:
    """Many prompts from a file."""

    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", metavar="FILE", help="Answer every line of a JSON Lines file; - is stdin."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where answers go; existing ones are kept.", show_default="stdout"
        ),
    ] = None
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Answers computed at once.")] = PARALLEL


@dataclass(frozen=True)
class Held:
    """What an answer may be at all."""

    json_schema: Annotated[
        str | None,
        typer.Option("--json-schema", metavar="FILE", help="Hold the answer to a JSON schema, or {...}."),
    ] = None
    grammar: Annotated[
        str | None,
        typer.Option("--grammar", metavar="FILE", help="Hold the answer to a grammar (Lark or GBNF)."),
    ] = None

    def options(self) -> dict[str, Any]:
        """The fields of `Options`, for `generate` and `send`."""
        return {name: written(name, given) for name, given in vars(self).items() if given is not None}


def written(name: str, given: str) -> str:
    """A JSON schema or a grammar: as it is, where only that can be meant, else from the file of that name."""
    known = given.lstrip().startswith("{") if name == "json_schema" else bool(_RULE.search(given))
    path = Path(os.path.expanduser(given))
    return given if known and not os.path.isfile(path) else read_text(path)


def read_text(path: Path) -> str:
    """A file's text. LocalmixError: it cannot be had."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LocalmixError(f"{path}: cannot be read as text: {getattr(error, 'strerror', error)}") from None


def chosen(argument: Path | None, option: Path | None) -> Path | None:
    """The file of the one model that was named, as an argument or with -m."""
    if argument is not None and option is not None:
        raise LocalmixError(f"two models, {argument} and -m {option}: name one")
    given = option if argument is None else argument
    return None if given is None else resolve(given)
