"""NVIDIA's GPUs under MLX: kernels that are compiled as they are met, and weights in the GPU's own memory.

MLX compiles a kernel when it first needs one, 5 to 40 seconds each, and keeps it in a folder, which is by default a
temporary one. Here it is ours, by version of MLX and kind of GPU, unless MLX_PTX_CACHE_DIR names another.
"""

import os
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from localmix import notices
from quant import folders

VARIABLE = "MLX_PTX_CACHE_DIR"
_EVERY, _PATIENCE = 5.0, 600.0  # seconds between two words on compiling; after which nobody looks any more


def present() -> bool:
    """Whether MLX computes on a GPU of NVIDIA's."""
    return mx.cuda.is_available() and mx.default_device() != mx.cpu


def kernels() -> Path:
    """Where compiled kernels are kept."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return folders.cached() / "mlx" / f"{version('mlx')}-{mx.device_info().get('architecture', 'cuda')}"


def prepare() -> None:
    """Keep compiled kernels, and say while some are compiled. To be called before anything is computed."""
    if not present() or _watched.is_set():
        return
    _watched.set()
    folder = kernels()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folders.warn_uncached(f"{folder}: {error.strerror}")
        return
    os.environ[VARIABLE] = str(folder)  # MLX looks when it first compiles
    if not notices.quiet and sys.stderr is not None:
        threading.Thread(target=_watch, args=(folder,), daemon=True).start()


def placed(array: mx.array) -> mx.array:
    """The same numbers in the GPU's memory. What the host has written lies where both can reach it.

    That is the host's memory where there is no managed one, as under WSL: each token would read it over the bus.
    """
    if not present():
        return array
    copy = array + mx.array(0, array.dtype)  # `array` is held by the caller: MLX does not compute in its place
    mx.eval(copy)
    return copy


_watched = threading.Event()


def _watch(folder: Path, every: float = _EVERY, patience: float = _PATIENCE) -> None:
    """Say how many kernels have been compiled, as long as there are more and more."""
    start = last = time.monotonic()
    first = known = _count(folder)
    if not known:
        _say(
            f"compiling kernels for this GPU as they are first needed, minutes in all, once; they are kept in {folder}"
        )
    while time.monotonic() - last < patience:
        time.sleep(every)
        count = _count(folder)
        if count > known:
            known, last = count, time.monotonic()
            _say(f"{known - first} kernels compiled in {last - start:.0f} s")


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.ptx"))  # long names are folders within folders


def _say(text: str) -> None:
    print(f"localmix: {text}", file=sys.stderr, flush=True)
