"""Where a pool keeps experts: memory in slots, and the reads that bring a part of an expert into one.

Here is memory that holds experts as the file has them. A backend that needs them otherwise brings slots of its own.
"""

import contextlib
import ctypes
import mmap
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Protocol

from localmix.gguf.tensors import Extent
from localmix.stream.files import PAGE
from localmix.stream.readers import PIECE, Read

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14
Key = tuple[int, int]  # layer, expert


class Slots(Protocol):
    """Slots are known by numbers. A pool asks for one thing at a time, and never for a slot that somebody looks at."""

    @property
    def nbytes(self) -> int: ...  # of the largest expert
    @property
    def repacks(self) -> bool: ...  # whether it takes more than reading to bring an expert there

    def sizes(self, key: Key) -> tuple[int, ...]: ...  # bytes that each part of an expert takes there

    def make(self, sizes: Sequence[int]) -> None:
        """Slots of so many bytes each."""
        ...

    def take(self, slot: int, key: Key, part: int) -> tuple[Any, list[Read]]:
        """Where a part of an expert will be, as the backend finds it, and what brings it there."""
        ...

    def give(self, slot: int) -> None:
        """Let others have a slot's memory until it is taken again."""
        ...


class Mapped:
    """Slots of private memory; parts are found by their addresses."""

    repacks = False

    def __init__(self, experts: Mapping[Key, Sequence[Extent]]) -> None:
        self._experts = experts
        self._sizes = _sizes(experts.values())
        self.nbytes = max(sum(self.sizes(key)) for key in experts)

    def sizes(self, key: Key) -> tuple[int, ...]:
        return tuple(self._sizes[part.size] for part in self._experts[key])

    def make(self, sizes: Sequence[int]) -> None:
        self._starts = [0, *accumulate(sizes)]
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a forked process has its own
        self._memory = mmap.mmap(-1, self._starts[-1], flags=private)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # pages of 2 MB: fewer for the disk to fill, and for processors to find
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        with contextlib.suppress(OSError):  # so that nobody else is promised it; touching it later would slow readers
            self._memory.madvise(_POPULATE_WRITE)
        self._view = memoryview(self._memory)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def take(self, slot: int, key: Key, part: int) -> tuple[int, list[Read]]:
        """An address, and reads that go straight there."""
        start, extent, reads = self._starts[slot], self._experts[key][part], []
        first, end = _pages(extent)
        for at in range(first, end, PIECE):
            size = min(PIECE, end - at)
            target = self._view[start + at - first : start + at - first + size]
            need = min(extent.end - at, size)  # the last page may reach beyond the file's end
            reads.append(Read(part, extent.path, at, size, need, target))
        return self._base + start + extent.start - first, reads

    def give(self, slot: int) -> None:
        start, end = self._starts[slot : slot + 2]
        self._memory.madvise(mmap.MADV_DONTNEED, start, end - start)


def expert_bytes(experts: Iterable[Sequence[Extent]]) -> int:
    """What the largest expert takes in memory."""
    experts = list(experts)
    sizes = _sizes(experts)
    return max(sum(sizes[part.size] for part in parts) for parts in experts)


def _sizes(experts: Iterable[Sequence[Extent]]) -> dict[int, int]:
    """What a part of so many bytes takes in memory: the whole pages around it, wherever in a page it begins."""
    found: dict[int, int] = {}
    for extent in chain.from_iterable(experts):
        first, end = _pages(extent)
        found[extent.size] = max(found.get(extent.size, 0), end - first)
    return found


def _pages(extent: Extent) -> tuple[int, int]:
    """Where the whole pages around it begin and end."""
    return extent.start // PAGE * PAGE, -(-extent.end // PAGE) * PAGE
