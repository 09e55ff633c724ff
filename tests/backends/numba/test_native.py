"""Kernels in the cache: compiled once, by two processes where there are many, what is needed first before the rest, and
again where they are damaged.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ["passes.worker.serve", "passes.worker.lead", "formats.q4_0.rows", "formats.q8_0.rows", "formats.f16.rows"]
PREPARE = f"""
from localmix.backends.numba.machine import native
native.prepare({NAMES})
for name in {NAMES}:
    native.address(name)
print(*native.compiled())
"""


def compiled(folder: Path) -> list[str]:
    """What this process had to compile."""
    environment = os.environ | {"LOCALMIX_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", PREPARE], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_another_process_compiles_every_other_kernel_and_a_damaged_one_is_compiled_again(tmp_path: Path) -> None:
    assert compiled(tmp_path) == NAMES[::2]
    assert {path.stem for path in tmp_path.rglob("*.o")} == set(NAMES)
    assert compiled(tmp_path) == []
    (file,) = tmp_path.rglob("passes.worker.lead.o")
    file.write_bytes(bytes(file.stat().st_size))  # as a power cut leaves it
    assert compiled(tmp_path) == ["passes.worker.lead"]
    assert compiled(tmp_path) == []


def test_what_is_needed_later_is_compiled_meanwhile_and_the_rest_of_it_here(tmp_path: Path) -> None:
    code = f"""
from localmix.backends.numba.machine import native
native.prepare({NAMES[:2]}, {NAMES[2:]})
print(*native.compiled())
native.finish({NAMES[2:]})
print(*native.compiled())
assert all(map(native.address, {NAMES}))
"""
    environment = os.environ | {"LOCALMIX_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    first, here = (line.split() for line in done.stdout.splitlines())
    assert first == NAMES[:1]
    assert here[1:] == NAMES[: len(NAMES) - len(here) : -1]  # from the last on
    assert {path.stem for path in tmp_path.rglob("*.o")} == set(NAMES)


def test_nothing_is_said_of_what_is_compiled_while_an_answer_is_written(tmp_path: Path) -> None:
    code = """
from localmix.backends.numba.machine import native
native.finish(["passes.worker.lead"])
assert native.compiled()
"""
    environment = os.environ | {"LOCALMIX_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("quiet", "said"), [(False, "localmix: compiling kernels for this machine, once\n"), (True, "")]
)
def test_compiling_is_said_once_and_not_to_the_quiet(tmp_path: Path, quiet: bool, said: str) -> None:
    code = f"""
from localmix import notices
from localmix.backends.numba.machine import native
notices.quiet = {quiet}
native.address("passes.worker.lead")
native.address("formats.f32.rows")
"""
    environment = os.environ | {"LOCALMIX_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == said
