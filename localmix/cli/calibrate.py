"""`localmix calibrate MODEL TEXT -o x.imatrix.gguf`: what inputs a model's matrices see, for quantizing it better."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.cli.memory import loaded
from localmix.cli.parameters import BackendOption, Output, Ram, Reading, TextFile, Threads
from localmix.cli.streams import note, overwrite
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.measure.calibrate import Progress


def calibrate(
    output: Output,
    reading: Reading,
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="A GGUF file, or the name of a pulled model.")],
    text: TextFile,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write.", show_default="MODEL.imatrix.gguf"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    backend: BackendOption = "numba",
    threads: Threads = None,
    ram: Ram = None,
) -> None:
    """Collect the mean square of every matrix's inputs over a text.

    Expert by expert, for localmix quantize --imatrix.

    Example: localmix calibrate mixtral.F16.gguf wiki.train.raw -o mixtral.imatrix.gguf
    """
    from localmix.convert.calibration import rare_experts
    from localmix.measure import imatrix
    from localmix.measure.calibrate import calibrate as collect

    model_path = resolve(path)
    target = out or Path(model_path.stem + ".imatrix.gguf")
    if target.exists() and not force:
        raise LocalmixError(f"{target}: already exists: choose another name with -o, or overwrite it with --force")
    model = loaded(model_path, backend, threads, ram=ram)
    windows = reading.windows(model, text)
    found = collect(model, windows, text.name, None if output.quiet else progress())
    overwrite("")
    imatrix.write(target, found)
    if not output.quiet:
        note(f"{target}: {len(found.entries)} tensors, {found.tokens} tokens of {text}")
        for line in rare_experts(found):
            note(line)


def progress() -> "Progress":
    """A line that shows how far it is and the time left."""
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        left = round((time.monotonic() - began) * (total - done) / done)
        overwrite(f"{done} of {total} tokens, {left // 60}:{left % 60:02} left" if left else "")

    return show
