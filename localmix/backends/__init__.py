"""The choice of a backend for this machine."""

import platform
from importlib import import_module
from importlib.util import find_spec

from localmix.backends.protocol import Backend
from localmix.errors import LocalmixError

NAMES = ("numba", "mlx", "reference")
MOST_THREADS = 512  # as llama.cpp; thousands would take the memory and all the time to start


def pick(name: str | None = None, threads: int | None = None) -> Backend:
    """The backend called `name`, or the best one for this machine. `threads`: None is one per physical core."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise LocalmixError(f"{threads} threads: expected 1 to {MOST_THREADS}, ideally one per physical core")
    name = name or best()
    if name == "reference":
        from localmix.backends.reference import Reference

        return Reference()
    if name == "numba":
        from localmix.backends.numba.backend import NumbaBackend

        return NumbaBackend(threads)
    if name == "mlx":
        return _mlx(threads)
    raise LocalmixError(f"unknown backend {name!r}: expected one of {', '.join(NAMES)}")


def best() -> str:
    """MLX on Apple silicon, which has it as a dependency; elsewhere, and where it was taken out, Numba."""
    return "mlx" if _apple() and find_spec("mlx") is not None else "numba"


def no_mlx() -> str | None:
    """Why the mlx backend cannot be used on this machine, and how it can; None: it can."""
    system, machine = platform.system(), platform.machine()
    if not _apple() and system != "Linux":
        return f"MLX runs on Apple silicon and Linux, this is {system} {machine}"
    if find_spec("mlx") is None:
        return f"the mlx backend is not installed: pip install 'localmix[mlx]'{_cuda()}"
    try:
        import_module("localmix.backends.mlx.backend")
    except ImportError as error:  # on Linux mlx comes without its library, mlx[cpu] and mlx[cuda13] with one each
        return f"mlx cannot be loaded ({error}): pip install --force-reinstall 'localmix[mlx]'{_cuda()}"
    return None


def _cuda() -> str:
    return "" if _apple() else ", or 'localmix[cuda]' for an NVIDIA GPU"


def _apple() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _mlx(threads: int | None) -> Backend:
    reason = no_mlx()
    if reason is not None:
        raise LocalmixError(f"{reason}, or use --backend numba")
    if threads is not None:
        raise LocalmixError(f"{threads} threads with the mlx backend, which manages its own: leave out -t")
    from localmix.backends.mlx.backend import MlxBackend

    return MlxBackend()
