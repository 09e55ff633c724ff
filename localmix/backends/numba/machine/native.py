"""Compiles kernels with Numba, once a machine, and loads the machine code without Numba from then on; what came with
the program need not be compiled at all (`shipped`).

A kernel is a Python function of int64 arguments (addresses and sizes) that returns nothing, allocates nothing and
raises nothing, so its object code stands alone: a warm start loads it in milliseconds and imports neither Numba (half
a second) nor, on Linux, LLVM. Kernels are named "folder.module.function" within this package. Calling convention:
int kernel(void *unused_result, void *unused_error, int64...), Numba's own.
"""

import ctypes
import os
import pkgutil
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from localmix import notices
from localmix.backends.numba.machine import host, isa, loader, shipped
from localmix.backends.numba.machine.second import Second
from localmix.backends.numba.machine.stamp import stamp, version
from quant import folders, sealed

PACKAGE = "localmix.backends.numba"
MARK = "_native_arguments"
_WORTH = 4  # kernels to compile that make up for starting another process
_compiled: list[str] = []
_seconds: list[Second] = []
_untold: set[str] = set()


def native(arguments: int) -> Callable[[Any], Any]:
    """Marks a function of that many int64 arguments as a kernel."""

    def mark(function: Any) -> Any:
        setattr(function, MARK, arguments)
        return function

    return mark


def prepare(names: Iterable[str], later: Iterable[str] = ()) -> None:
    """Compile what the cache lacks of these kernels, every other one in a second process, which goes on with what is
    needed `later`: see `finish`. Whatever that process cannot do is left to `address`.
    """
    missing, rest = ([name for name in dict.fromkeys(some) if _missing(name)] for some in (names, later))
    if len(missing) + len(rest) < _WORTH or not sys.executable or getattr(sys, "frozen", False):
        return
    try:
        second = Second([*missing[1::2], *rest], lambda name: not _missing(name))
    except OSError:
        return
    _seconds.append(second)
    for name in missing[::2]:
        address(name)
    second.wait(missing[1::2])


def finish(names: Sequence[str]) -> None:
    """Compile what the cache lacks of kernels that were left for later: the last ones here, while the second process
    has the first ones. Nothing is said of it: on a terminal the answer has begun where that would be written.
    """
    _untold.update(names)
    for name in reversed(names):
        for second in _seconds:
            if second.present() == name:
                second.wait([name])
        address(name)


@lru_cache(None)
def address(name: str) -> int:
    """The address of a kernel, which came with the program, is in the cache, or is compiled now."""
    code = shipped.read(name) or _cached(name)
    symbol, code = code.split(b"\n", 1)
    return link(symbol.decode(), code)


def link(symbol: str, code: bytes) -> int:
    """The address of a symbol of object code, which is made executable and stays."""
    if (at := loader.load(symbol, code)) is not None:
        return at
    import llvmlite.binding as llvm

    engine = _engine()
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine.get_function_address(symbol)


def function(kernel: str | int, arguments: int) -> Callable[..., int]:
    """A kernel, by its name or address, as a Python callable; it runs without the interpreter lock."""
    at = address(kernel) if isinstance(kernel, str) else kernel
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_int64] * arguments)(at)
    slot = (ctypes.c_int64 * 2)()  # where Numba's convention wants a result and an error
    result, error = ctypes.addressof(slot), ctypes.addressof(slot) + 8

    def run(*args: int) -> int:
        return call(result, error, *args)

    run.slot = slot  # type: ignore[attr-defined]  # kept alive with the callable
    return run


def compiled() -> list[str]:
    """The kernels that this process had to compile."""
    return list(_compiled)


@lru_cache(1)
def _engine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _missing(name: str) -> bool:
    """Whether a kernel is neither shipped nor in the cache, if there is one."""
    if shipped.has(name):
        return False
    folder = _folder()
    return folder is not None and not (folder / f"{name}.o").exists()


@lru_cache(1)
def _folder() -> Path | None:
    """The cache folder of exactly these sources, formats, versions and instructions; None: nothing is writable."""
    chosen = isa.active()
    versions = [version(package) for package in ("numba", "llvmlite")]
    name = stamp(chosen.name, *chosen.needs, host.name(), *versions, platform.python_version(), platform.machine())
    folder = folders.cached() / "kernels" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folders.warn_uncached(f"{error.strerror}: {folder}")
        return None
    return folder


def _cached(name: str) -> bytes:
    """A kernel's symbol, a newline, and its object code: from the cache, or compiled now and kept there."""
    folder = _folder()
    path = folder / f"{name}.o" if folder else None
    code = sealed.read(path) if path else None
    if code is None:
        _compiled.append(name)
        tell = (lambda text: None) if name in _untold else _tell
        tell(f"localmix: compiling for this machine, once: {name}")
        code = compile_alone(name)
        tell("")
        if path:
            _store(path, code)
    return code


def compile_alone(name: str) -> bytes:
    """A kernel's symbol, a newline, and its object code."""
    from localmix.backends.numba.machine.compiler import compile_kernel

    python = pkgutil.resolve_name(f"{PACKAGE}.{name}")
    symbol, code = compile_kernel(python, getattr(python, MARK))
    return symbol.encode() + b"\n" + code


def _tell(text: str) -> None:
    """On stderr: on a terminal in the place of the line before, else one line for all kernels."""
    if sys.stderr is None or notices.quiet:
        return
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif len(_compiled) == 1 and text:
        print("localmix: compiling kernels for this machine, once", file=sys.stderr, flush=True)


def _store(path: Path, data: bytes) -> None:
    try:
        sealed.write(path, data)
    except OSError as error:
        folders.warn_uncached(f"{error.strerror}: {path.parent}")
