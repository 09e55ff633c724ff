"""Object code of kernels that came with the program, where it was installed from a wheel that has some: see `ship`.

It was made of exactly these sources, for any processor with an instruction set, by whatever Numba: nothing of Numba
or of Python is in it. A file that is damaged or was made for something else is left alone: its kernel is compiled.
"""

import platform
import sys
import zlib
from functools import lru_cache
from pathlib import Path

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.isa import Isa
from localmix.backends.numba.machine.stamp import stamp
from quant import sealed

FOLDER = Path(__file__).parents[1] / "shipped"


def stamp_of(chosen: Isa) -> str:
    """The name of the code for an instruction set on this system: a folder's."""
    return stamp(chosen.name, *chosen.needs, sys.platform, platform.machine())


def packed(name: str, stamp: str, code: bytes) -> bytes:
    """A kernel's file: what it is and its code, compressed and sealed."""
    return sealed.seal(zlib.compress(f"{stamp} {name}\n".encode() + code, 9))


def has(name: str) -> bool:
    """Whether there is a file for a kernel, be it damaged or not."""
    folder = _folder()
    return folder is not None and (folder / name).exists()


def read(name: str) -> bytes | None:
    """What `packed` was given for a kernel; None: there is nothing that can be used."""
    folder = _folder()
    try:
        content = sealed.opened((folder / name).read_bytes()) if folder else None
    except OSError:
        return None
    if folder is None or content is None:
        return None
    title, code = zlib.decompress(content).split(b"\n", 1)
    return code if title == f"{folder.name} {name}".encode() else None


@lru_cache(1)
def _folder() -> Path | None:
    """Where code for the instruction set in use lies."""
    folder = FOLDER / stamp_of(isa.active()) if FOLDER.is_dir() else None
    return folder if folder and folder.is_dir() else None
