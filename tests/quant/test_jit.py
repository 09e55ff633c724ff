"""Kernels: compiled when called, callable from each other, cached where the environment says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from quant.folders import CACHE_VARIABLE
from quant.jit import kernel


@kernel
def twice(x: float) -> float:
    return x * 2


@kernel
def sum_of_doubles(values: np.ndarray) -> float:
    total = 0.0
    for value in values:
        total += twice(value)
    return total


def run(code: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {CACHE_VARIABLE: str(cache)}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)


def test_kernels_call_kernels() -> None:
    assert sum_of_doubles(np.arange(5.0)) == 20


def test_division_by_zero_is_that_of_c() -> None:
    @kernel
    def divide(a: float, b: float) -> float:
        return a / b

    assert divide(1.0, 0.0) == np.inf


ROUND = "import numpy as np; from quant.fit.half import to_half; print(to_half(np.float32(0.1)))"


def test_compiled_code_is_cached_and_compiled_again_where_it_is_damaged(tmp_path: Path) -> None:
    first = run(ROUND, tmp_path)
    (file,) = tmp_path.glob("kernels/*/*/half.to_half-*.nbc")
    code, written = file.read_bytes(), file.stat().st_mtime_ns
    assert run(ROUND, tmp_path).stdout == first.stdout
    assert file.stat().st_mtime_ns == written
    assert first.stderr == ""
    for damaged in (b"", code[: len(code) // 2], bytes(len(code))):
        file.write_bytes(damaged)
        again = run(ROUND, tmp_path)
        assert (again.stdout, again.stderr) == (first.stdout, "")
        assert len(file.read_bytes()) == len(code)


def test_without_a_writable_place_kernels_run_and_say_so_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    result = run(ROUND, blocked)
    assert float(result.stdout) == float(np.float16(0.1))
    (note,) = result.stderr.splitlines()
    assert "compiled anew in each run" in note
    assert CACHE_VARIABLE in note
