"""`localmix quantize SOURCE [OUT] --format Q4_K_M`: a checkpoint to a GGUF file."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.amounts import amount
from localmix.cli.answer import INTERRUPTED
from localmix.cli.parameters import Output, all_below_one
from localmix.cli.perplexity import comparison_table
from localmix.cli.perplexity import progress as measuring
from localmix.cli.streams import note, overwrite
from localmix.cli.targets import chosen_target, confirmed, say_expectations
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.convert import Checkpoint, Measurement, Plan
    from quant.recipe import Row


def quantize(
    output: Output,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A checkpoint folder, or a GGUF file.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="The file to write.", show_default="NAME.FORMAT.gguf")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("-f", "--format", metavar="NAME", help="A recipe or a format.", show_default="Q4_K_M"),
    ] = None,
    target_ram: Annotated[
        str | None,
        typer.Option("--target-ram", metavar="SIZE", help="Fit the model into this much memory, such as 24G."),
    ] = None,
    target_bpw: Annotated[
        float | None,
        typer.Option("--target-bpw", metavar="BITS", min=1, help="Bits per weight on average, such as 4.25."),
    ] = None,
    ctx: Annotated[
        int, typer.Option("-c", "--ctx", min=0, help="Tokens of context that --target-ram leaves room for; 0: all.")
    ] = 4096,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")] = False,
    tensor_type: Annotated[
        list[str] | None,
        typer.Option("--tensor-type", metavar="PATTERN=FORMAT", help="A format for tensors by name. May be repeated."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="streaming: experts last and at whole pages, for models larger than memory.",
            show_default="the source's order",
        ),
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="KEY=TEXT", help="Metadata, such as general.license=mit. May be repeated."),
    ] = None,
    imatrix: Annotated[
        Path | None, typer.Option("--imatrix", metavar="FILE", help="A file from localmix calibrate, for less loss.")
    ] = None,
    measure: Annotated[
        Path | None,
        typer.Option("--measure", metavar="TEXT", help="Compare with the source on a text; kept in the file."),
    ] = None,
    chunks: Annotated[int, typer.Option("--chunks", min=1, help="Most windows of 512 tokens to read.")] = 40,
    allow_requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Accept a source that is already quantized.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue where an earlier run was cut off.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT, and what is left of an earlier run.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "-t", "--threads", min=-1, callback=all_below_one, help="Threads.", show_default="one per processor"
        ),
    ] = None,
) -> None:
    """Convert a checkpoint to a GGUF file, quantized.

    Example: localmix quantize Mixtral-8x7B-Instruct-v0.1 mixtral.gguf --format Q4_K_M
    """
    from localmix import convert

    if layout not in (None, *convert.LAYOUTS):
        raise LocalmixError(f"--layout {layout}: expected {' or '.join(convert.LAYOUTS)}")
    checkpoint = convert.open_checkpoint(source, allow_requantize)
    context = min(ctx or checkpoint.context, checkpoint.context)
    target = chosen_target(format, target_ram, target_bpw, context)
    recipe, rows = target.formats(checkpoint, overrides(tensor_type or (), checkpoint))
    seen = convert.Calibration({}, {}, []) if imatrix is None else convert.calibrated(checkpoint, imatrix)
    said = " ".join((target.text, *(tensor_type or ())))
    extra = convert.receipt(checkpoint, said, seen.receipt, measure is not None) | texts(meta or ())
    plan = convert.make_plan(checkpoint, recipe, rows, extra, seen.importance)
    if layout is not None:
        plan = convert.for_streaming(plan)
    measurement = None if measure is None else convert.Measurement.make(plan, measure, chunks, threads)
    path = out or Path(file_name(str(checkpoint.metadata.get("general.name") or source.stem), target.label))
    if not dry_run:
        refuse_overwriting(path, resume, force)
        check_room(plan, path, measurement)
    if dry_run or not output.quiet:
        report(plan, path, seen.notes)
    if target.asks:
        say_expectations(plan, context, threads or processors())
    if not dry_run and (yes or not target.asks or confirmed()):
        work(plan, path, threads or processors(), resume, output.quiet, measurement)


def file_name(model: str, label: str) -> str:
    """What the result is called; a model's name may be any text."""
    return re.sub(r"[^\w.+-]+", "-", model).strip("-.") + f".{label}.gguf"


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_overwriting(path: Path, resume: bool, force: bool) -> None:
    """LocalmixError: there is a file already, or a part of one, and nobody said what to do with it."""
    from localmix.gguf.partial import partial_path

    partial = partial_path(path)
    if path.exists() and not force:
        raise LocalmixError(f"{path}: already exists: choose another name, or overwrite it with --force")
    if partial.exists() and not force and not resume:
        raise LocalmixError(f"{partial}: left by an unfinished run: continue with --resume, or start over with --force")


def check_room(plan: "Plan", path: Path, measurement: "Measurement | None") -> None:
    """LocalmixError: the disk has no room for all that will be written at one time."""
    from localmix.gguf import partial

    source = measurement.room if measurement else 0
    purpose = f", {source} of them for the source as F16 while --measure runs it" if source else ""
    partial.check_room(path, plan.nbytes + source, purpose)


def work(
    plan: "Plan", path: Path, threads: int, resume: bool, quiet: bool, measurement: "Measurement | None" = None
) -> None:
    """Check, write and measure, with progress; Ctrl-C leaves what can be resumed."""
    from localmix import convert
    from localmix.gguf.partial import partial_path

    finish = None if measurement is None else lambda written: compared(measurement, written, path, quiet)
    try:
        if not (resume and partial_path(path).exists()):
            with progress_bar("checking", plan.nbytes, quiet) as advance:
                convert.check(plan, threads, advance)
        with progress_bar("writing", plan.nbytes, quiet) as advance:
            convert.write(plan, path, threads, advance, resume, finish)
    except KeyboardInterrupt:
        left = partial_path(path).exists()
        note("localmix: stopped" + (": the same command with --resume continues from here" if left else ""))
        raise typer.Exit(INTERRUPTED) from None


def compared(measurement: "Measurement", written: Path, out: Path, quiet: bool) -> None:
    """Measure the finished file and say how far it is from its source."""
    source = measurement.source_plan()
    with progress_bar("source as F16", source.nbytes if source else 0, quiet or source is None) as advance:
        found = measurement.fill_in(written, out, advance, None if quiet else measuring())
    overwrite("")
    if not quiet:
        for name, value in comparison_table(found):
            note(f"{name:<18} {value}")


def overrides(options: "list[str] | tuple[()]", checkpoint: "Checkpoint") -> "list[Row]":
    """The rows that --tensor-type puts before the recipe's. LocalmixError: one has no effect on `checkpoint`."""
    from quant import FORMATS
    from quant.recipe import Row

    rows = []
    matrices = [name for name, source in checkpoint.tensors.items() if len(source.shape) > 1]
    for option in options:
        pattern, equals, format = option.rpartition("=")
        if not equals or FORMATS.get(format.lower()) is None or FORMATS[format.lower()].quantize is None:
            names = ", ".join(name for name, row in FORMATS.items() if row.quantize)
            raise LocalmixError(f"--tensor-type {option}: expected PATTERN=FORMAT with a format of {names}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise LocalmixError(f"--tensor-type {option}: {pattern} is not a regular expression: {error}") from None
        if not any(re.search(pattern, name) for name in matrices):
            raise LocalmixError(f"--tensor-type {option}: no matrix has such a name; one is {matrices[-1]}")
        rows.append(Row(pattern, format.lower()))
    return rows


def texts(options: "list[str] | tuple[()]") -> dict[str, str]:
    """The metadata that --meta sets."""
    found = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key.startswith("general.") or key == "general.architecture":
            raise LocalmixError(f"--meta {option}: expected KEY=TEXT with a key such as general.license")
        found[key] = text
    return found


def report(plan: "Plan", path: Path, notes: "list[str]") -> None:
    """What will be written, on stderr: sizes by role and format, and what is not as asked; `notes` on importance."""
    from localmix.measure import inventory

    found = inventory.take(plan)
    for part in found.parts:
        note(f"{part.role:10} {part.format:7} {amount(part.weights):>7} weights {amount(part.bytes, 'B'):>9}")
    for given in plan.outputs:
        if given.choice.wanted is not None:
            what = f"rows of {given.info.shape[-1]} do not divide into blocks of {given.choice.wanted.block}"
            note(f"{given.info.name}: {given.info.format.name} instead of {given.choice.wanted.name}: {what}")
    for line in (*plan.checkpoint.notes, *notes):
        note(f"note: {line}")
    note(f"{path}: {amount(found.bytes, 'B')}, {found.bits:.2f} bits per weight")


@contextmanager
def progress_bar(what: str, total: int, hidden: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with MB/s and the time left, on a terminal; what it gives is called with bytes done."""
    if hidden or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda nbytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description}")
    columns = text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda nbytes: bar.advance(task, nbytes)
