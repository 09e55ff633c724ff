"""What `localmix doctor --selftest` prints: a line for all that the MLX backend computes, pass, FAIL or skip."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from localmix.cli.streams import note, write
from localmix.errors import LocalmixError

if TYPE_CHECKING:
    from localmix.backends.mlx.selftest import Named

_VERDICTS = {True: "pass", False: "FAIL", None: "skip"}


def passes(quiet: bool) -> bool:
    """Run the checks, a line each on stdout; whether none failed. LocalmixError: there is no MLX here."""
    from localmix import backends

    reason = backends.no_mlx()
    if reason is not None:
        raise LocalmixError(f"no kernels to check: {reason}")
    from localmix.backends.mlx.backend import MlxBackend
    from localmix.backends.mlx.selftest import checks

    counts, first = dict.fromkeys(_VERDICTS.values(), 0), ""
    if not quiet:
        note(f"localmix: checking mlx on {MlxBackend().isa}")
    with tempfile.TemporaryDirectory(prefix="localmix-") as folder:  # files that experts are streamed from
        for check in checks(_networks(Path(folder))):
            verdict = _VERDICTS[check.passed]
            counts[verdict] += 1
            first = first or (check.name if check.passed is False else "")
            write(f"{verdict}\t{check.name}\t{check.detail}\n")
    if not quiet:
        failed = f"; the first that failed: {first}" if first else ""
        note(f"localmix: {counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} cannot run here{failed}")
    return not first


def _networks(folder: Path) -> Iterator["Named"]:
    """Names and networks that are run as a whole: a model with real weights, and a small one of every family, in files
    in a folder.
    """
    from localmix import gguf, network
    from localmix.measure import small
    from localmix.store.bundled import model_path

    yield "the bundled model", network.load(gguf.open(model_path()))
    yield from small.networks(folder)
