"""`localmix bench`: how fast a model runs here, and how close that is to what the machine can do."""

import csv
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.cli.memory import kept
from localmix.cli.parameters import Engine, Json, ModelArgument, Output
from localmix.cli.streams import json_text, note, write
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.measure.bench import Plan, Result
    from localmix.model import Model

_HEAD = f"{'test':>8} {'depth':>6} {'batch':>5} {'t/s':>9} {'±':>6} {'GMAC/s':>7} {'GB/s':>6} {'of bound':>8}"


def bench(
    engine: Engine,
    output: Output,
    path: ModelArgument = None,
    prompts: Annotated[
        str, typer.Option("-p", "--prompts", help="Prompt lengths, such as 32,512.")
    ] = "32,128,512,2048",
    decoded: Annotated[int, typer.Option("-n", "--decode", min=0, help="Tokens decoded; 0: none.")] = 64,
    batches: Annotated[str, typer.Option("-b", "--batch", help="Sequences decoded at once, such as 1,4,16.")] = "1",
    depths: Annotated[str, typer.Option("-d", "--depth", help="Tokens in the context before a test.")] = "0",
    repeats: Annotated[int, typer.Option("-r", "--repeats", min=1, help="Runs of each test.")] = 5,
    synthetic: Annotated[
        str | None, typer.Option("--synthetic", metavar="NAME", help="Random weights of this model's shape.")
    ] = None,
    layers: Annotated[int | None, typer.Option("--layers", min=1, help="Layers of a synthetic model.")] = None,
    weights: Annotated[str, typer.Option("--format", help="Format of a synthetic model.")] = "q4_k",
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")] = False,
) -> None:
    """Measure how fast a model reads prompts and decodes.

    On random tokens, in batches and at depth, with the share of the memory bus in use.
    """
    from localmix.measure.bench import Plan

    plan = Plan(_numbers("-p", prompts), decoded, _numbers("-b", batches), _numbers("-d", depths), repeats)
    if synthetic is None:
        _measure(engine, output, path, plan, as_json, as_csv)
        return
    from localmix.measure import synthetic as maker

    with tempfile.TemporaryDirectory(prefix="localmix-") as folder:
        file = Path(folder) / f"{synthetic}.{weights}.gguf"
        maker.write(file, synthetic, layers, weights)
        _measure(engine, output, file, plan, as_json, as_csv)


def _measure(engine: Engine, output: Output, path: Path | None, plan: "Plan", as_json: bool, as_csv: bool) -> None:
    from localmix.measure import bench

    model = engine.load(path)
    b = model.backend
    with ExitStack() as stack:
        bound, memory = _bound(model, stack) if plan.decoded else (None, "")
        if not output.quiet:
            reads = f"; this machine reads {bound() / 1e9:.1f} GB/s from {memory}" if bound else ""
            note(f"{model.file.path}: {b.name} {b.isa}, {b.threads} threads{reads}")
        _write(bench.run(model, plan, bound), as_json, as_csv)
    if model.place.pool is not None and not output.quiet:
        note(f"localmix: {kept(model)}")


def _write(results: Iterable["Result"], as_json: bool, as_csv: bool) -> None:
    if as_json:
        write(json_text([asdict(result) for result in results], indent=2))
    elif as_csv:
        _write_csv(results)
    else:
        _write_table(results)


def _bound(model: "Model", stack: ExitStack) -> tuple[Callable[[], float], str]:
    """What measures the bytes a second that the model's device reads, and from what; `stack` ends it. Nothing is made
    ready before it is called: while a file of a gigabyte is written, prompts are read at nine tenths of their speed.
    """
    from localmix.measure import bandwidth

    rate = model.backend.read_rate() if hasattr(model.backend, "read_rate") else None
    if rate is not None:
        return lambda: rate, "the GPU's memory"
    probes = list[Callable[[], float]]()

    def probe() -> float:
        if not probes:
            probes.append(stack.enter_context(bandwidth.probing(Path(model.file.path), model.backend.threads)))
        return probes[0]()

    return probe, "a mapped file"


def _write_table(results: Iterable["Result"]) -> None:
    write(_HEAD + "\n")
    for r in results:
        gb = "" if r.gb_per_second is None else f"{r.gb_per_second:.1f}"
        share = "" if r.share_of_bound is None else f"{r.share_of_bound:.0%}"
        row = f"{r.test:>8} {r.depth:>6} {r.batch:>5} {r.tokens_per_second:>9.1f} {r.spread:>6.1%}"
        write(f"{row} {r.gmac_per_second:>7.1f} {gb:>6} {share:>8}\n")


def _write_csv(results: Iterable["Result"]) -> None:
    from localmix.measure.bench import Result

    out = csv.DictWriter(sys.stdout, [field.name for field in fields(Result)])
    out.writeheader()
    for result in results:
        out.writerow(asdict(result))


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise LocalmixError(f"{option} {text}: expected numbers separated by commas, such as 32,512") from None
