"""Loads a model, and says what of it is in memory: what was decided, and what that came to."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localmix import notices
from localmix.amounts import amount
from localmix.cli.streams import note
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.model import Model


def loaded(
    path: Path | None,
    backend: str | None,
    threads: int | None,
    kv: str = "f16",
    ram: str | None = None,
    *,
    draft: str = "auto",
    of: int = 1,
) -> "Model":
    """A model, one `of` so many that share `ram`, and a line on stderr where it does not fit into memory as a whole."""
    if backend != "reference":  # the only one that multiplies with NumPy, whose threads spin for 0.1 s of a processor
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with _no_garbage():
        import localmix.model
        from localmix.answer.draft import KINDS
        from localmix.cli.targets import size

        if not gc.get_freeze_count():  # modules, not models: of those several may come and go
            gc.freeze()
        if draft not in KINDS:
            draft = str(resolve(Path(draft)))
        model = localmix.load(path, backend, threads, kv, None if ram is None else size("--ram", ram) // of, draft)
    if not notices.quiet and (said := decided(model)):
        note(f"localmix: {said}")
    return model


@contextmanager
def _no_garbage() -> Iterator[None]:
    """What is loaded stays: looking through it for garbage again and again would take a tenth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def decided(model: "Model") -> str:
    """That experts are streamed, and what would keep them in memory; empty: nothing is."""
    pool = model.place.pool
    if pool is None:
        return ""
    return (
        f"experts are streamed from the disk: of {amount(pool.experts_bytes, 'B')} in {pool.experts} experts "
        f"{amount(pool.nbytes, 'B')} stay in memory; with {amount(model.place.needs, 'B')} all would"
    )


def kept(model: "Model") -> str:
    """Resident, or what of the experts is streamed, how often they were found in memory, and what the disk gave.

    Empty: there are none.
    """
    if not model.network.experts:
        return ""
    pool = model.place.pool
    if pool is None:
        return "resident"
    counts, decoding = pool.counts, model.engine.decoding
    told = [
        f"streamed: {amount(pool.nbytes, 'B')} of {amount(pool.experts_bytes, 'B')} of experts in memory",
        f"{counts.hit_rate:.0%} hits",
    ]
    if decoding.tokens:
        told.append(f"{amount(decoding.bytes_read // decoding.tokens, 'B')} a token")
    if counts.reading:
        share = f", {counts.speed / model.place.disk:.0%} of what it can" if model.place.disk else ""
        told.append(f"{'disk and repacking' if pool.repacks else 'disk'} {amount(int(counts.speed), 'B')}/s{share}")
    return ", ".join([*told, f"resident with {amount(model.place.needs, 'B')}"])
