"""The memory that this machine has for a program, counting what a container or a group of processes may use, and what
the system would give back of its file cache.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TREES = (  # where groups are, what limits one, what it uses that cannot be given back: cgroup 2, cgroup 1
    ("", "/sys/fs/cgroup", "memory.max", "anon"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss"),
)
_OWN, _MACHINE = "/proc/self/cgroup", "/proc/meminfo"


@dataclass(frozen=True)
class Memory:
    """In bytes."""

    total: int
    available: int  # without taking anything from other programs


def here() -> Memory:
    """What there is, and what is free; where the system does not say, as much as anybody can want."""
    if sys.platform == "darwin":
        total = int(sysctl("hw.memsize") or 0)
        return Memory(total, min(total, _free_on_macos()))
    try:
        text = Path(_MACHINE).read_text()
    except OSError:
        return Memory(sys.maxsize, sys.maxsize)
    total, available = (int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
                        for key in ("MemTotal", "MemAvailable"))  # fmt: skip
    for most, used in _limits():
        total, available = min(total, most), min(available, most - used)
    return Memory(total, max(available, 0))


def _limits() -> Iterator[tuple[int, int]]:
    """What each group may use that this process is in, and what it uses: its own, and all above that."""
    for controller, root, limit, key in _TREES:
        for folder in _groups(controller, Path(root)):
            try:
                most = int((folder / limit).read_text())
                stat = (folder / "memory.stat").read_text()
                used = int(re.search(rf"^{key} (\d+)", stat, re.MULTILINE)[1])  # type: ignore[index]
            except (OSError, ValueError, TypeError):  # no such group, or "max"
                continue
            yield most, used


def _groups(controller: str, root: Path) -> list[Path]:
    """From the root down to this process's own; a container sees its own as the root."""
    try:
        rows = [line.split(":", 2) for line in Path(_OWN).read_text().splitlines()]
    except OSError:
        rows = []
    own = next((row[2] for row in rows if len(row) == 3 and controller in row[1].split(",")), "/")
    path = root / own.strip("/")
    return [root, *(one for one in (path, *path.parents) if one != root and root in one.parents)]


def sysctl(name: str) -> str:
    """What macOS says of itself."""
    return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()


def _free_on_macos() -> int:
    """Free pages and those that hold files or may be thrown away."""
    text = subprocess.run(["vm_stat"], capture_output=True, text=True, check=False).stdout
    size = int(found[1]) if (found := re.search(r"page size of (\d+)", text)) else 4096
    kinds = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    return size * sum(int(n) for kind in kinds for n in re.findall(rf"^{kind}:\s+(\d+)", text, re.MULTILINE))
