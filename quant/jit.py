"""Just-in-time compilation: the one place that knows Numba's flags and where compiled kernels are kept.

`@kernel` costs nothing at import: Numba is loaded when a kernel is first called, and a kernel may call other
kernels. Compiled code is cached in a folder that is named by everything that shapes it, so that an edited source,
another processor or another Numba never meets a stale entry. Kernels run without the GIL, on one thread:
whoever has more of them calls a kernel from several Python threads.
"""

import hashlib
import os
import pickle
import sys
import threading
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from quant import folders, sealed

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
                    dispatcher._cache = cache_of(self.function)
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


def cache_of(function: Callable[..., Any]) -> Any:
    """Numba's cache of one function, whose files are ours: see `Overloads`."""
    from numba.core.caching import FunctionCache

    class Sealed(FunctionCache):
        def __init__(self) -> None:
            super().__init__(function)
            self._cache_file = Overloads(Path(self._cache_path), self._impl.filename_base)

        def save_overload(self, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)
            except OSError as error:
                folders.warn_uncached(f"{error.strerror}: {self._cache_path}")

    return Sealed()


class Overloads:
    """A file for each combination of argument types. Numba's own files are run as they are found, damaged or not."""

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder, self._stem = folder, stem

    def load(self, key: Any) -> Any:
        """What was saved, or None."""
        content = sealed.read(self._path(key))
        if content is None:
            return None
        known, data = pickle.loads(content)
        return data if known == key else None

    def save(self, key: Any, data: Any) -> None:
        """OSError: the disk."""
        from numba.core.serialize import dumps

        sealed.write(self._path(key), dumps((key, data)))

    def _path(self, key: Any) -> Path:
        return self._folder / f"{self._stem}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


@cache
def cache_folder(sources: Path) -> Path | None:
    """Where the kernels defined in the folder `sources` are cached; None, said once, if nothing is writable."""
    folder = folders.cached() / "kernels" / fingerprint(sources)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        folders.warn_uncached(f"{error.strerror}: {folder}")
        return None
    return folder


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
