"""Compiles all kernels for the usual instruction sets of this architecture, so that a wheel can carry their code.

    python -m localmix.backends.numba.machine.ship FOLDER

What is made is for Linux if it is made there, and so on. The build hook of the wheel runs this: .ci/wheel.py.
"""

import os
import pkgutil
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from localmix.backends.numba import formats
from localmix.backends.numba.machine import isa, shipped
from localmix.backends.numba.machine.native import MARK, PACKAGE, compile_alone
from localmix.backends.numba.products.kernels import Kernels
from quant import FORMATS

SHARES = 4  # processes for each instruction set: many are more even, few import Numba less often


def usual() -> list[isa.Isa]:
    """The instruction sets that are worth it: of this architecture's processors since about 2015."""
    kind = {"x86_64": "avx2", "aarch64": "neon", "arm64": "neon"}.get(platform.machine())
    return [one for one in isa.ALL if kind in one.needs]


def names() -> list[str]:
    """Of all kernels; those that take as long are neighbours."""
    found = set(_marked())
    for name in FORMATS:
        kernels = getattr(formats, name, None)
        if isinstance(kernels, Kernels):  # of a format without a module
            found |= {f"formats.{name}.{one}" for one in kernels._fields}
    return sorted(found, key=lambda name: name.split(".")[::-1])


def _marked() -> Iterator[str]:
    """Kernels that are functions of modules."""
    package: Any = import_module(PACKAGE)
    for found in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if found.name != __spec__.name:
            for name, value in vars(import_module(found.name)).items():
                if callable(value) and hasattr(value, MARK):
                    yield f"{found.name}.{name}".removeprefix(f"{PACKAGE}.")


def make(folder: Path, chosen: isa.Isa, kernels: Sequence[str]) -> None:
    """Files of these kernels for an instruction set, in a folder of its own below `folder`. Once a process."""
    isa.aim(chosen)
    stamp = shipped.stamp_of(chosen)
    (folder / stamp).mkdir(parents=True, exist_ok=True)
    for name in kernels:
        (folder / stamp / name).write_bytes(shipped.packed(name, stamp, compile_alone(name)))


def make_all(folder: Path) -> None:
    """All kernels for all usual instruction sets, on all processors."""

    def share(chosen: isa.Isa, number: int) -> None:
        subprocess.run([sys.executable, "-m", __spec__.name, str(folder), chosen.name, str(number)], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(share, *zip(*product(usual(), range(SHARES)), strict=True)))


def main(folder: str, chosen: str = "", number: str = "") -> None:
    """All of it, or of one instruction set a share."""
    if not chosen:
        make_all(Path(folder))
        return
    (one,) = (one for one in isa.ALL if one.name == chosen)
    isa.aim(one)
    make(Path(folder), one, names()[int(number) :: SHARES])


if __name__ == "__main__":
    main(*sys.argv[1:])
