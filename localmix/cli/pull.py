"""`localmix pull`: a model from the Hugging Face hub."""

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localmix.amounts import amount
from localmix.cli.parameters import Output
from localmix.cli.quantize import check_room, processors, progress_bar
from localmix.cli.streams import note, overwrite, write
from localmix.cli.targets import chosen_target
from localmix.errors import LocalmixError
from localmix.store.pulled import Name, Pulled

if TYPE_CHECKING:
    from localmix.store.hub import Progress, Remote

_OFTEN = 0.1  # seconds between two lines of progress


def pull(
    output: Output,
    name: Annotated[str, typer.Argument(metavar="NAME", help="owner/repository[:FORMAT], or a short name: mixtral.")],
    format: Annotated[
        str | None, typer.Option("--format", help="Weight format, such as Q4_K_M.", show_default="Q4_K_M")
    ] = None,
) -> None:
    """Download a model from the Hugging Face hub.

    A checkpoint without a GGUF file of that format is converted. An interrupted download continues where it stopped.
    HF_TOKEN and HF_ENDPOINT are honoured; models are kept in LOCALMIX_MODELS.
    Example: localmix pull mixtral, then localmix chat mixtral.
    """
    from localmix.store import hub, variants
    from localmix.store import pulled as store
    from quant.recipe import RECIPES

    wanted = store.parse(name, format)
    if wanted is None:
        known = ", ".join(store.REPOSITORIES)
        raise LocalmixError(f"{name}: expected owner/repository, as the hub names it, or one of {known}")
    model = store.find(wanted, exactly=True) if wanted.format else None
    if model is None:
        progress = _Progress() if not output.quiet and sys.stderr.isatty() else _silent
        remotes = hub.listed(wanted)
        if files := hub.checkpoint(wanted, remotes):
            format = variants.recipe(wanted.format or variants.USUAL, [*RECIPES])
            model = converted(Name(wanted.repository, format.upper()), files, progress, output)
        else:
            model = hub.pull(wanted, chosen(wanted, remotes), progress)
    write(f"{model.path}\n")
    if not output.quiet:
        note(f"localmix: {model.name}, {amount(model.size, 'B')}: localmix chat {model.name}")


def chosen(name: Name, remotes: "list[Remote]") -> "list[Remote]":
    """The files of the model that a name means; where several fit a terminal asks. LocalmixError: none fits."""
    from localmix.store import hub

    try:
        return hub.choose(name, remotes)
    except hub.SeveralError as error:
        if not sys.stdin.isatty():
            raise
        note(f"localmix: {name}: which one?")
        for one in error.names:
            note(f"  {one}")
        answer = typer.prompt("Name or file", err=True)
        return chosen(Name(name.repository, answer.strip()), remotes)


def converted(name: Name, remotes: "list[Remote]", progress: "Progress", output: Output) -> Pulled:
    """A model of which there is only a checkpoint, downloaded and then deleted. What was done stays if it stops."""
    from localmix import convert
    from localmix.store import hub
    from localmix.store import pulled as store

    if (model := store.find(name, exactly=True)) is not None:
        return model
    target, title = chosen_target(name.format, None, None, 0), remotes[0].repository.rpartition("/")[2]
    folder = store.folder() / name.repository / title
    path = folder.with_name(f"{title}.{name.format}.gguf")
    if not output.quiet:
        size = sum(remote.size for remote in remotes)
        note(f"localmix: {name} is converted from the checkpoint {remotes[0].repository}, {amount(size, 'B')}")
    hub.fetch(remotes, folder, progress, max(0, least_size(target.text, remotes) - written(path)))
    checkpoint = convert.open_checkpoint(folder)
    recipe, rows = target.formats(checkpoint, [])
    plan = convert.make_plan(checkpoint, recipe, rows, convert.receipt(checkpoint, target.text))
    check_room(plan, path, None)
    with progress_bar("checking", plan.nbytes, output.quiet) as advance:
        convert.check(plan, processors(), advance)
    with progress_bar("writing", plan.nbytes, output.quiet) as advance:
        convert.write(plan, path, processors(), advance, resume=True)
    shutil.rmtree(folder)
    return Pulled(name, (path,))


def least_size(recipe: str, remotes: "list[Remote]") -> int:
    """Bytes that a checkpoint takes when converted, if every tensor is as narrow as most are. Nothing is here yet.

    Its weights are taken to have 16 bits, as in nearly all checkpoints.
    """
    from quant import FORMATS
    from quant.recipe import RECIPES

    weights = sum(remote.size for remote in remotes if remote.file.endswith((".safetensors", ".pt"))) // 2
    return int(weights * FORMATS[RECIPES[recipe].base].bits / 8)


def written(path: Path) -> int:
    """Bytes that an earlier run has converted already."""
    from localmix.gguf.partial import partial_path

    place = partial_path(path)
    return place.stat().st_size if place.exists() else 0


class _Progress:
    """One line that overwrites itself: how much, how fast, how long still."""

    def __init__(self) -> None:
        self._what, self._began, self._first, self._next = "", 0.0, 0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._first, self._next = what, now, done, now
        if done == total:
            overwrite("")
        elif now >= self._next:
            self._next = now + _OFTEN
            speed = (done - self._first) / max(now - self._began, 1e-3)
            left = f", {(total - done) / speed:.0f} s left" if speed else ""
            overwrite(f"{what}: {amount(done, 'B')} of {amount(total, 'B')}, {amount(int(speed), 'B')}/s{left}")


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
