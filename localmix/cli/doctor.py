"""`localmix doctor`: what this machine computes with, and whether it computes right."""

import importlib.util
import platform
from typing import Annotated

import typer

from localmix.cli.parameters import Output
from localmix.cli.streams import note, write

_VERDICTS = {True: "pass", False: "FAIL", None: "skip"}


def doctor(
    output: Output,
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Run every kernel of the mlx backend here: pass or fail.")
    ] = False,
) -> None:
    """Show what this machine computes with; --selftest checks the GPU's kernels against the reference."""
    for name, value in machine():
        write(f"{name}\t{value}\n")
    if selftest and not passes(output.quiet):
        raise typer.Exit(1)


def machine() -> list[tuple[str, str]]:
    """Names and values, a row each."""
    from localmix import __version__, backends
    from localmix.backends.numba import isa
    from localmix.backends.numba.team import processors

    return [
        ("localmix", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("numba", f"{isa.active().name}, {processors()} threads"),
        ("mlx", _mlx()),
        ("default", backends.best()),
    ]


def _mlx() -> str:
    if importlib.util.find_spec("mlx") is None:
        return "not installed: pip install 'localmix[mlx]'"
    from localmix.backends.mlx import memory
    from localmix.backends.mlx.backend import MlxBackend

    available = memory.working_set()
    room = "" if available is None else f", {available / 1e9:.1f} GB for the GPU"
    return MlxBackend().isa + room


def passes(quiet: bool) -> bool:
    """Run the checks, a line each on stdout; whether none failed."""
    if importlib.util.find_spec("mlx") is None:
        note("localmix: the mlx backend is not installed, so there are no kernels to check")
        return True
    from localmix.backends.mlx.selftest import checks

    counts = dict.fromkeys(_VERDICTS.values(), 0)
    for check in checks():
        verdict = _VERDICTS[check.passed]
        counts[verdict] += 1
        write(f"{verdict}\t{check.name}\t{check.detail}\n")
    if not quiet:
        note(f"localmix: {counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} cannot be run here")
    return counts["FAIL"] == 0
