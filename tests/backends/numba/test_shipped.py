"""Object code that came with the program: used where it is there, whole and of these sources, else compiled."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ["passes.worker.lead", "formats.f32.rows", "formats.bf16.rows", "formats.q8_0.rows"]  # small ones
LOADER = [] if (sys.platform, platform.machine()) == ("linux", "x86_64") else ["llvmlite"]
MAKE = """
import sys
from pathlib import Path
from localmix.backends.numba.machine import isa, ship
ship.make(Path(sys.argv[1]), isa.active(), sys.argv[2:])
"""
USE = """
import sys
from pathlib import Path
from localmix.backends.numba.machine import native, shipped
_, shipped.FOLDER, *names = sys.argv
shipped.FOLDER = Path(shipped.FOLDER)
for name in names:
    assert native.address(name)
print(*native.compiled(), *sorted({"numba", "llvmlite"} & sys.modules.keys()))
"""
PRODUCTS = ["formats.f16.gemm", "formats.q4_0.gemv"]
COMPUTE = """
import sys
from pathlib import Path
import numpy as np
from kernel_calls import product, random_weights
from localmix.backends.numba.machine import native, shipped
from quant import FORMATS
_, shipped.FOLDER, *names = sys.argv
shipped.FOLDER = Path(shipped.FOLDER)
x = np.random.default_rng(0).standard_normal((5, 256)).astype(np.float32)
for name in names:
    _, format, shape = name.split(".")
    print(product(format, shape, random_weights(FORMATS[format], 40, 256), x).tobytes().hex())
print(*native.compiled())
"""
DISGUISE = f"""
import sys
from pathlib import Path
from localmix.backends.numba.machine import shipped
Path(sys.argv[1]).write_bytes(shipped.packed({NAMES[3]!r}, "avx9-0123456789abcdef", b"symbol\\ncode"))
"""


def run(code: str, *arguments: object, **changes: str) -> list[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | changes, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for the instruction set in use."""
    run(MAKE, folder := tmp_path_factory.mktemp("shipped"), *NAMES, *PRODUCTS)
    (only,) = folder.iterdir()
    return only


def test_it_is_used_unless_it_is_damaged_or_something_else(made: Path, tmp_path: Path) -> None:
    """And then neither Numba nor a cache. A file that cannot be used stays as it is, and nothing of it is run."""
    shipped = shutil.copytree(made, tmp_path / "shipped" / made.name)

    def compiled(*names: str) -> list[str]:
        return run(USE, shipped.parent, *names, LOCALMIX_CACHE_DIR=str(tmp_path / "cache"))

    assert compiled(*NAMES) == LOADER
    assert not (tmp_path / "cache").exists()
    files = [shipped / name for name in NAMES]
    whole = files[0].read_bytes()
    files[0].write_bytes(bytes(len(whole)))  # as a power cut leaves it
    files[1].write_bytes(files[1].read_bytes()[:-1])
    files[2].write_bytes(whole)  # of another kernel
    run(DISGUISE, files[3])  # of another instruction set or program
    spoilt = [file.read_bytes() for file in files]
    assert compiled(*NAMES) == [*NAMES, "llvmlite", "numba"]
    assert compiled(*NAMES) == LOADER  # they are in the cache now
    assert [file.read_bytes() for file in files] == spoilt
    files[0].write_bytes(whole)
    shipped.rename(shipped.with_name("avx9-0123456789abcdef"))  # as if it were of other sources
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    assert compiled(NAMES[0]) == [NAMES[0], "llvmlite", "numba"]


def test_it_gives_the_bits_that_code_compiled_here_gives(made: Path, tmp_path: Path) -> None:
    """Which is made for the processor at hand, not for all that have its instructions."""
    changes = {"LOCALMIX_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    ours = run(COMPUTE, made.parent, *PRODUCTS, **changes)
    here = run(COMPUTE, tmp_path / "none", *PRODUCTS, **changes)
    assert here == [*ours, *PRODUCTS]


def test_every_kernel_is_made() -> None:
    """By the names that programs ask with."""
    names = run("from localmix.backends.numba.machine import ship; print(*ship.names())")
    assert len(names) == len(set(names)) > 90
    assert {
        "formats.q4_k.gemv",
        "formats.q4_0.gemm16",
        "formats.mxfp4.rows",
        "formats.f16.gemm",
        "attend.kernel.f16_rounded",
        "blocks.mixture_many.mixture",
        "blocks.streamed_one.gate_up",
        "passes.worker.serve",
        "machine.probe.read",
    } <= set(names)
