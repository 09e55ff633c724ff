"""Which formats are multiplied straight from the file's blocks on this machine: where our kernels are faster.

Measured when MLX is first used on a GPU, and remembered for this GPU, MLX and source: a machine then always computes
the same way. A kernel that Metal refuses, or that computes wrongly, is not used; `localmix doctor --selftest` says.
"""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

from localmix.backends.mlx import memory
from localmix.backends.mlx.metal import source, trial
from localmix.backends.mlx.metal.kernels import Kernels, MetalKernels
from localmix.backends.mlx.metal.lanes import TABLE
from quant.jit import CACHE_VARIABLE, default_root


def kernels() -> dict[str, Kernels]:
    """Those that are used here; none without a GPU of Apple."""
    if not mx.metal.is_available() or mx.default_device() == mx.cpu:
        return {}
    file = Path(os.environ.get(CACHE_VARIABLE) or default_root()) / "metal.json"
    known, here = _read(file), _machine()
    if here not in known:
        known[here] = [name for name in TABLE if _preferred(name)]
        _write(file, known)
    return {name: MetalKernels(name) for name in known[here] if name in TABLE}


def _preferred(name: str) -> bool:
    try:
        tried = trial.attempt(name, MetalKernels(name))
    except RuntimeError:  # Metal's compiler
        return False
    return tried.passed and tried.faster


def _machine() -> str:
    text = "".join(source.header(lanes) for lanes in TABLE.values()) + source.product() + source.expand()
    return f"{memory.here().name}, MLX {version('mlx')}, {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(file: Path, known: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known))
    except OSError:
        return  # measured again next time
