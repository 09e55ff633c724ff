"""`localmix doctor`: what this machine computes with, and whether it computes right."""

import platform
from typing import Annotated

import typer

from localmix.cli.parameters import Output
from localmix.cli.selftest import passes
from localmix.cli.streams import write


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
    from localmix import backends

    reason = backends.no_mlx()
    if reason is not None:
        return reason
    from localmix.backends.mlx.backend import MlxBackend

    backend = MlxBackend()
    size = backend.device.working_set
    return backend.isa + ("" if size is None else f", {size / 1e9:.1f} GB for the GPU")
