"""What this machine has: its processor, and how fast its disk is read. Knows no model."""

import mmap
import os
import platform
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from localmix.stream.files import DirectFile
from localmix.stream.memory import sysctl
from localmix.stream.readers import READERS

_SAMPLE = 1 << 28  # bytes of a disk that are read
_BLOCK = 1 << 22  # at a time


def processor() -> str:
    """The processor's name, as its maker writes it."""
    if sys.platform == "darwin":
        return sysctl("machdep.cpu.brand_string") or platform.machine()
    try:
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def disk_speed(folder: Path, file: Path | None = None) -> float:
    """Bytes a second, read past the file cache: from `file` if it is large enough, else from a temporary one."""
    if file is not None and file.stat().st_size >= 2 * _SAMPLE:
        return _read(file, file.stat().st_size // 2 // _BLOCK * _BLOCK)
    with tempfile.NamedTemporaryFile(dir=folder) as made:
        block = os.urandom(_BLOCK)
        for _ in range(_SAMPLE // _BLOCK):
            made.write(block)
        made.flush()
        os.fsync(made.fileno())
        return _read(Path(made.name), 0)


def _read(path: Path, start: int) -> float:
    file = DirectFile(path)
    file.forget()
    buffers = [mmap.mmap(-1, _BLOCK) for _ in range(READERS)]  # at a page's start, as direct reads want it

    def part(i: int) -> None:
        for at in range(start + i * _BLOCK, start + _SAMPLE, READERS * _BLOCK):
            file.read(memoryview(buffers[i]), at, _BLOCK)

    with ThreadPoolExecutor(READERS) as pool:
        began = time.perf_counter()
        list(pool.map(part, range(READERS)))
        return _SAMPLE / (time.perf_counter() - began)
