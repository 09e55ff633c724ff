"""Object code put into memory without LLVM: it runs, calls C functions, and what has more is left to LLVM."""

import gc
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from localmix.backends.numba.machine import loader, native
from localmix.backends.numba.machine.compiler import compile_kernel
from localmix.backends.numba.machine.words import copy, exp_f32, load_f32, store_f32

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="elsewhere LLVM loads code"
)


def kernel(source: int, target: int, count: int) -> None:
    copy(target, source, count)  # memcpy
    store_f32(target, exp_f32(load_f32(source)))  # constants


def test_code_runs_as_llvm_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    symbol, code = compile_kernel(kernel, 3)
    source, results = np.linspace(-1, 1, 1000, dtype=np.float32), []
    at = loader.load(symbol, code)
    assert at is not None
    monkeypatch.setattr(loader, "load", lambda symbol, code: None)
    for address in (at, native.link(symbol, code)):
        target = np.zeros_like(source)
        native.function(address, 3)(source.ctypes.data, target.ctypes.data, source.nbytes)
        results.append(target)
    assert (results[0] == results[1]).all()
    assert (results[0][1:] == source[1:]).all()
    assert results[0][0] == pytest.approx(np.exp(-1), rel=1e-6)


def test_what_kernels_do_not_need_is_left_to_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    symbol, code = compile_kernel(kernel, 3)
    for wrong in (
        code.replace(b"memcpy\0", b"nomore\0"),
        code[:18] + b"\xb7" + code[19:],  # for ARM
        code[:16] + b"\3" + code[17:],  # a shared library
    ):
        assert wrong != code
        assert loader.load(symbol, wrong) is None
    monkeypatch.setattr(loader, "_ADDRESS", 2)  # as if code had addresses of a kind that is not known
    assert loader.load(symbol, code) is None


def test_code_stays_when_python_lets_go_of_all_that_the_loader_has() -> None:
    """As at the end of a process, where a worker may still wait in it."""
    at = loader.load(*compile_kernel(kernel, 3))
    assert at is not None
    for name, value in vars(loader).items():
        if isinstance(value, list | dict | set) and not name.startswith("__"):
            value.clear()
    gc.collect()
    mapped = (row.split()[0].split("-") for row in Path("/proc/self/maps").read_text().splitlines())
    assert any(int(first, 16) <= at < int(last, 16) for first, last in mapped)
