"""`localmix pull`: a model from the Hugging Face hub."""

import sys
import time
from typing import Annotated

import typer

from localmix.cli.parameters import Output
from localmix.cli.streams import note, overwrite, write
from localmix.errors import LocalmixError

_OFTEN = 0.1  # seconds between two lines of progress


def pull(
    output: Output,
    name: Annotated[str, typer.Argument(metavar="NAME", help="owner/repository[:FORMAT], or a short name: mixtral.")],
    format: Annotated[
        str | None, typer.Option("--format", help="Weight format, such as Q4_K_M.", show_default="Q4_K_M")
    ] = None,
) -> None:
    """Download a model from the Hugging Face hub.

    An interrupted download goes on where it stopped. HF_TOKEN and HF_ENDPOINT are honoured; models lie in
    LOCALMIX_MODELS. Example: localmix pull mixtral, then localmix chat mixtral.
    """
    from localmix import hub, store

    wanted = store.parse(name, format)
    if wanted is None:
        known = ", ".join(store.REPOSITORIES)
        raise LocalmixError(f"{name}: expected owner/repository, as the hub names it, or one of {known}")
    model = store.find(wanted) if wanted.format else None
    if model is None:
        model = hub.pull(wanted, _Progress() if not output.quiet and sys.stderr.isatty() else _silent)
    write(f"{model.path}\n")
    if not output.quiet:
        note(f"localmix: {model.name}, {model.size / 1e9:.1f} GB: localmix chat {model.name}")


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
            overwrite(f"{what}: {done / 1e9:.2f} of {total / 1e9:.2f} GB, {speed / 1e6:.0f} MB/s{left}")


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
