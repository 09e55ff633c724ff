"""`localmix routes MODEL TEXT…`: which experts serve what, as section 5 of the Mixtral paper looks at it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.amounts import amount
from localmix.cli.calibrate import progress
from localmix.cli.memory import loaded
from localmix.cli.parameters import BackendOption, Html, Json, Output, Ram, Reading, Threads
from localmix.cli.streams import note, overwrite, write
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.measure.pool import Rates
    from localmix.measure.routes import Routes
    from localmix.measure.routing import Trace
    from localmix.model import Model


def routes(
    output: Output,
    reading: Reading,
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="A GGUF file, or the name of a pulled model.")],
    texts: Annotated[list[Path], typer.Argument(metavar="TEXT...", help="Files of plain text, one for each kind.")],
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="Write every token's experts, as .npz or .parquet."),
    ] = None,
    simulate: Annotated[
        str | None,
        typer.Option(
            "--simulate-cache",
            metavar="SIZES",
            help="How often pools of experts of these sizes would hit, such as 4G,8G.",
        ),
    ] = None,
    html: Html = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    backend: BackendOption = None,
    threads: Threads = None,
    ram: Ram = None,
    as_json: Json = False,
) -> None:
    """Show which experts serve which texts.

    Their shares, the balance, and how often consecutive tokens keep theirs.

    Example: localmix routes mixtral stories.txt code.py sums.txt --simulate-cache 8G,16G
    """
    from localmix.cli import routing as shown
    from localmix.cli.tables import show
    from localmix.measure import aside, trace_file
    from localmix.measure.routes import Routes

    for file in (trace, html):
        if file is not None:
            aside.check_new(file, force)
    if trace is not None:
        trace_file.check(trace)
    sizes = pool_sizes(simulate)
    model = loaded(resolve(path), backend, threads, ram=ram)
    found = Routes([_record(model, name, text, reading, output) for name, text in named(texts)])
    rates = _simulated(model, found, sizes)
    if trace is not None:
        trace_file.write(trace, found.traces, model.tokenizer)
    if html is not None:
        _report(html, model, found, rates)
    if as_json:
        pools = [one.as_dict() for one in rates]
        write(
            json.dumps({"model": str(path), "context": reading.length(model)} | found.as_dict() | {"pools": pools})
            + "\n"
        )
    else:
        show(shown.tables(found, rates), shown.NUMBERS)
    if not output.quiet:
        if not as_json:
            note(shown.EXPLAINED.rstrip())
        note(f"{found.tokens} tokens, {found.active} of {found.experts} experts each")
        for file in filter(None, (trace, html)):
            note(f"{file}: {amount(file.stat().st_size, 'B')}")


def named(texts: "list[Path]") -> "list[tuple[str, Path]]":
    """Each file with a short name of its own."""
    stems = [text.stem for text in texts]
    return [(text.stem if stems.count(text.stem) == 1 else str(text), text) for text in texts]


def pool_sizes(option: str | None) -> "list[int]":
    """Bytes of each pool that is asked for."""
    from localmix.cli.targets import size

    return [size("--simulate-cache", part.strip()) for part in option.split(",")] if option is not None else []


def _record(model: "Model", name: str, text: Path, reading: Reading, output: Output) -> "Trace":
    from localmix.measure import routing, windows

    try:
        cut, lead = windows.whole(model.tokenizer, windows.read_text(text), reading.length(model), reading.chunks)
    except LocalmixError as error:
        raise LocalmixError(f"{text}: {error}" if str(text) not in str(error) else str(error)) from None
    found = routing.record(model, name, cut, lead, None if output.quiet else progress())
    overwrite("")
    return found


def _report(html: Path, model: "Model", found: "Routes", rates: "list[Rates]") -> None:
    from localmix.report import page
    from localmix.report.facts import of_model
    from localmix.report.routes import data

    page.write(
        html, "routes", f"Routes of {of_model(model)[0][1]}", data(found, rates, model.tokenizer, of_model(model))
    )


def _simulated(model: "Model", found: "Routes", sizes: "list[int]") -> "list[Rates]":
    from localmix.measure import inventory, pool, routing

    expert = inventory.expert_bytes(model.file)
    every = routing.joined(found.traces) if sizes else None
    return [pool.simulate(every, size, expert) for size in sizes if every is not None]
