"""`localmix doctor`: what this machine is, how a model would run on it, and whether it computes right."""

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from localmix.amounts import amount
from localmix.cli.findings import report
from localmix.cli.parameters import BackendOption, Json, ModelArgument, Output, Ram, Threads
from localmix.cli.prognosis import examine
from localmix.cli.selftest import passes
from localmix.cli.streams import json_text, write


def doctor(
    output: Output,
    path: ModelArgument = None,
    backend: BackendOption = None,
    threads: Threads = None,
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Run every kernel of the mlx backend here: pass or fail.")
    ] = False,
    ram: Ram = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure nothing: no bandwidths, no expected speed.")] = False,
    as_json: Json = False,
) -> None:
    """Show whether a model fits this machine, and how fast it will be.

    Also what this machine is, and the command to type. MODEL may be on the hub and not here yet. --selftest instead
    checks the GPU's kernels against the reference.
    """
    found: dict[str, Any] = {"machine": machine(measure=not (quick or selftest), threads=threads)}
    if not selftest:
        found["model"] = examine(path, backend, threads, found["machine"], quick=quick, ram=ram)
    if as_json:
        write(json_text(found, indent=2))
    elif sys.stdout.isatty():
        for line in report(found, shutil.get_terminal_size().columns):
            write(line + "\n")
    else:
        for part in found.values():
            for name, value in part.items():
                write(f"{_title(name)}\t{_shown(name, value)}\n")
    if selftest and not passes(output.quiet):
        raise typer.Exit(1)


def machine(measure: bool, threads: int | None) -> dict[str, Any]:
    """Names and values; bytes, and bytes a second."""
    from localmix import __version__, backends
    from localmix.backends.numba.machine import isa
    from localmix.backends.numba.passes.team import processors
    from localmix.measure import bandwidth
    from localmix.measure import machine as here
    from localmix.store import pulled as store
    from localmix.stream import memory as free

    memory = free.here()
    rows: dict[str, Any] = {
        "localmix": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "processor": here.processor(),
        "numba": f"{isa.active().name}, {processors()} threads",
        **_mlx(),
        "default": backends.best(),
        "memory_bytes": memory.total,
        "free_memory_bytes": memory.available,
    }
    if measure:
        rows["memory_speed_bytes_per_second"] = round(bandwidth.measure(None, threads or processors()))
        rows["disk_speed_bytes_per_second"] = round(here.disk_speed(_scratch(store.folder())))
    return rows


def _scratch(folder: Path) -> Path:
    """Where a file can be written for a moment: on the disk of that folder if possible."""
    while not os.path.isdir(folder):
        folder = folder.parent
    return folder if os.access(folder, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _title(name: str) -> str:
    return name.replace("_bytes_per_second", "").replace("_bytes", "").replace("_", " ")


def _shown(name: str, value: Any) -> str:
    if "bytes" in name:
        return amount(value, "B") + "/s" * name.endswith("_per_second")
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _mlx() -> dict[str, str]:
    """What MLX runs on, and of each format with Metal kernels of ours whether they are used, and why."""
    from localmix import backends

    reason = backends.no_mlx()
    if reason is not None:
        return {"mlx": reason}
    from localmix.backends.mlx import cuda, layouts
    from localmix.backends.mlx.backend import MlxBackend
    from localmix.backends.mlx.metal import choice

    rows = {"mlx": MlxBackend().isa}
    if cuda.present():
        rows["mlx_kernels"] = f"compiled as they are needed, kept in {cuda.kernels()}"
    if why := layouts.layouts().why:
        rows["mlx_experts"] = why
    return rows | {f"metal_{name}": verdict.why for name, verdict in choice.verdicts().items()}
