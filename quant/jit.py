"""Just-in-time compilation: the one place that knows Numba's flags and where compiled kernels are kept.

`@kernel` costs nothing at import: Numba is loaded when a kernel is first called, and a kernel may call other
kernels. Compiled code is cached in a folder that is named by everything that shapes it, so that an edited source,
another processor or another Numba never meets a stale entry. Kernels run without the GIL, on one thread:
whoever has more of them calls a kernel from several Python threads.
"""

import fcntl
import hashlib
import os
import sys
import threading
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "LOCALMIX_CACHE_DIR"
ISA_VARIABLE = "LOCALMIX_ISA"  # kernels may choose their instructions by it, so compiled code depends on it


WRAPPING = threading.Lock()  # Numba's cache folder is a global of its own


class Kernel:
    """A function that is compiled when it is first called; see `kernel`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's compiled function, for callers that cannot afford the microsecond of a Python call."""
        import numba

        config: Any = numba.config
        teach_numba_kernels()
        folder = cache_folder(Path(self.function.__code__.co_filename).parent)
        dispatcher = numba.njit(nogil=True, error_model="numpy")(self.function)
        if folder is not None:
            with WRAPPING:
                previous = config.CACHE_DIR
                config.CACHE_DIR = str(folder)  # read once, while the cache is being made
                try:
                    dispatcher._cache = cache_of(self.function, folder / "lock")
                finally:
                    config.CACHE_DIR = previous
        return dispatcher


def kernel(function: Callable[..., Any]) -> Kernel:
    """Compile `function` on its first call: no GIL, C's arithmetic for division by zero, cached on disk.

    Only order-preserving arithmetic is generated, so results do not depend on the processor's vector width.
    """
    return Kernel(function)


@cache
def teach_numba_kernels() -> None:
    """Let compiled code call a Kernel: to Numba it is the dispatcher that it holds."""
    from numba.extending import typeof_impl

    @typeof_impl.register(Kernel)
    def _(value: Kernel, context: Any) -> Any:
        return typeof_impl(value.dispatcher, context)


def cache_of(function: Callable[..., Any], lock: Path) -> Any:
    """Numba's cache of one function, written by one process at a time.

    Two that choose a file for what they compiled could otherwise choose the same for different arguments.
    """
    from numba.core.caching import FunctionCache

    class OneWriter(FunctionCache):
        def save_overload(self, sig: Any, data: Any) -> None:
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                super().save_overload(sig, data)

    return OneWriter(function)


@cache
def cache_folder(sources: Path) -> Path | None:
    """Where the kernels defined in the folder `sources` are cached; None, said once, if nothing is writable."""
    root = os.environ.get(CACHE_VARIABLE) or default_root()
    folder = Path(root) / "kernels" / fingerprint(sources)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        warn_uncached(f"{error.strerror}: {folder}")
        return None
    return folder


def default_root() -> str:
    from platformdirs import user_cache_dir

    return user_cache_dir("localmix", appauthor=False)


@cache
def warn_uncached(reason: str) -> None:
    note = f"localmix: kernels are compiled anew in each run ({reason}); set {CACHE_VARIABLE} to a writable folder"
    print(note, file=sys.stderr)


def fingerprint(sources: Path) -> str:
    """A name for all that compiled code depends on: kernel sources, Python, Numba, processor, instruction set.

    A kernel may call those of its own folder and those below, in `quant`: all of these are hashed, because
    Numba's own key covers no more than the file that a kernel is defined in.
    """
    import llvmlite.binding
    import numba

    digest = hashlib.sha256()
    host = (sys.version, numba.__version__, llvmlite.binding.get_host_cpu_name(), host_features())
    digest.update(repr((*host, os.environ.get(ISA_VARIABLE))).encode())
    here = Path(__file__).parent
    for folder in (here,) if sources.is_relative_to(here) else (here, sources):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def host_features() -> str:
    import llvmlite.binding

    return str(llvmlite.binding.get_host_cpu_features().flatten())
