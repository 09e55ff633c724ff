"""What this machine has: processor, memory that is free, and how fast its disk is read. Knows no model.

Memory counts what a container may use, and what the system would give back of its file cache.
"""

import fcntl
import mmap
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_GROUPS = (  # what a container may use, and uses: cgroup 2, cgroup 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.stat", "rss"),
)
_SAMPLE = 1 << 28  # bytes of a disk that are read
_BLOCK = 1 << 22  # at a time
_READERS = 4  # at once: a solid-state disk wants several questions
_F_NOCACHE = 48  # macOS: read past the file cache


@dataclass(frozen=True)
class Memory:
    """In bytes."""

    total: int
    available: int  # without taking anything from other programs


def processor() -> str:
    """The processor's name, as its maker writes it."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    try:
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def memory() -> Memory:
    """What there is, and what is free."""
    if sys.platform == "darwin":
        total = int(_sysctl("hw.memsize") or 0)
        return Memory(total, min(total, _free_on_macos()))
    text = Path("/proc/meminfo").read_text()
    total, available = (int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
                        for key in ("MemTotal", "MemAvailable"))  # fmt: skip
    for limit, stat, key in _GROUPS:
        try:
            most = int(Path(limit).read_text())
            used = int(re.search(rf"^{key} (\d+)", Path(stat).read_text(), re.MULTILINE)[1])  # type: ignore[index]
        except (OSError, ValueError, TypeError):  # no such group, or "max"
            continue
        total, available = min(total, most), min(available, most - used)
    return Memory(total, max(available, 0))


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
    descriptor = _uncached(path)
    try:
        with ThreadPoolExecutor(_READERS) as pool:
            buffers = [mmap.mmap(-1, _BLOCK) for _ in range(_READERS)]  # at a page's start, as O_DIRECT wants it
            began = time.perf_counter()

            def part(i: int) -> None:
                for at in range(start + i * _BLOCK, start + _SAMPLE, _READERS * _BLOCK):
                    os.preadv(descriptor, [buffers[i]], at)

            list(pool.map(part, range(_READERS)))
            return _SAMPLE / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


def _uncached(path: Path) -> int:
    """The file, opened so that reads go to the disk as far as the system can do that."""
    if sys.platform == "darwin":
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.fcntl(descriptor, _F_NOCACHE, 1)
        return descriptor
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        os.preadv(descriptor, [mmap.mmap(-1, _BLOCK)], 0)
        return descriptor
    except OSError:  # a file system that cannot, such as one in memory
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return descriptor


def _sysctl(name: str) -> str:
    return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()


def _free_on_macos() -> int:
    """Free pages and those that hold files or may be thrown away."""
    text = subprocess.run(["vm_stat"], capture_output=True, text=True, check=False).stdout
    size = int(found[1]) if (found := re.search(r"page size of (\d+)", text)) else 4096
    kinds = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    return size * sum(int(n) for kind in kinds for n in re.findall(rf"^{kind}:\s+(\d+)", text, re.MULTILINE))
