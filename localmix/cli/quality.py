"""`localmix quality MODEL… --text FILE`: several formats of one model side by side, in one table and picture."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.amounts import amount
from localmix.cli.memory import loaded
from localmix.cli.parameters import BackendOption, Html, Json, Output, Ram, Reading, Threads
from localmix.cli.perplexity import progress
from localmix.cli.streams import note, overwrite, write
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.cli.tables import Row
    from localmix.measure.quality import Quality

HEAD = ("file", "size", "bits", "perplexity", "±", "KL", "KL 99 %", "top 1", "routers", "prompt t/s", "decode t/s")


def quality(
    output: Output,
    reading: Reading,
    paths: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Files of one model in several formats.")],
    text: Annotated[Path, typer.Option("--text", metavar="FILE", help="A file of plain text to measure on.")],
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="The file that all are compared with.",
            show_default="the one with most bits",
        ),
    ] = None,
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Do not measure speed.")] = False,
    html: Html = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    backend: BackendOption = None,
    threads: Threads = None,
    ram: Ram = None,
    as_json: Json = False,
) -> None:
    """Compare formats of one model: size, loss, routers, speed.

    Loss is perplexity, and the divergence from the file that has most bits.

    Example: localmix quality mixtral.Q8_0.gguf mixtral.Q4_K_M.gguf mixtral.Q3_K_M.gguf --text wiki.test.raw
    """
    from localmix.cli.tables import show
    from localmix.measure import aside
    from localmix.measure import quality as measuring

    if html is not None:
        aside.check_new(html, force)
    given = [resolve(path) for path in [*paths, *([base] if base is not None else [])]]
    files = list(dict.fromkeys(given))
    if len(files) < 2:
        raise LocalmixError(f"{files[0]}: only one file: expected two or more formats of one model, or --base")
    models = [loaded(file, backend, threads, ram=ram, of=len(files)) for file in files]
    first = files.index(given[-1]) if base is not None else measuring.best(models)
    windows = reading.windows(models[first], text)
    found = measuring.measure(
        models,
        measuring.short_names(files),
        first,
        windows,
        speed=not no_speed,
        progress=None if output.quiet else progress(),
    )
    overwrite("")
    found.sort(key=lambda one: one.bytes)
    if html is not None:
        _report(html, found, text, reading.length(models[first]), models[first].backend.isa)
    if as_json:
        written = {
            "text": str(text),
            "context": reading.length(models[first]),
            "models": [one.as_dict() for one in found],
        }
        write(json.dumps(written, indent=2) + "\n")
        return
    show({"formats": (HEAD, [row(one) for one in found])}, {*HEAD[1:]})
    if not output.quiet:
        tokens = found[0].found.score.tokens
        note(
            f"{tokens} tokens scored; KL in nats per token, from {files[first].name}; routers: the same experts chosen"
        )


def row(one: "Quality") -> "Row":
    """A file in the table."""
    score, base = one.found.score, one.is_base
    return (
        one.name,
        amount(one.bytes, "B"),
        f"{one.bits:.2f}",
        f"{score.perplexity:.4f}",
        f"{score.error:.4f}",
        "" if base else f"{one.found.kl_mean:.6f}",
        "" if base else f"{one.found.kl_percentile(99):.5f}",
        "" if base else f"{one.found.top1:.2%}",
        "" if base or one.router is None else f"{one.router:.2%}",
        "" if one.prompt is None else f"{one.prompt:.1f}",
        "" if one.decode is None else f"{one.decode:.1f}",
    )


def _report(html: Path, found: "list[Quality]", text: Path, context: int, isa: str) -> None:
    from localmix.report import page

    data = {"models": [one.as_dict() for one in found], "text": text.name, "context": context, "isa": isa}
    data["tokens"] = found[0].found.score.tokens
    page.write(html, "quality", "Quality by format", data)
