"""Where a pool keeps experts: memory in slots of one size, and the reads that bring an expert into one.

Here is memory that holds experts as the file has them. A backend that needs them otherwise brings slots of its own.
"""

import contextlib
import ctypes
import mmap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from localmix.gguf.tensors import Extent
from localmix.stream.files import PAGE
from localmix.stream.readers import PIECE, Read

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14
Key = tuple[int, int]  # layer, expert


class Slots(Protocol):
    """Slots are known by numbers. A pool asks for one thing at a time, and never for a slot that somebody looks at."""

    @property
    def nbytes(self) -> int: ...  # of a slot
    @property
    def repacks(self) -> bool: ...  # whether it takes more than reading to bring an expert there

    def size(self, key: Key) -> int: ...  # bytes that an expert takes there

    def take(self, slot: int, key: Key) -> tuple[tuple[Any, ...], list[Read]]:
        """Where each part of an expert will be, as the backend finds it, and what brings it there."""
        ...

    def give(self, slot: int) -> None:
        """Let others have a slot's memory until it is taken again."""
        ...


class Mapped:
    """So many slots of private memory; parts are found by their addresses."""

    repacks = False

    def __init__(self, experts: Mapping[Key, Sequence[Extent]], count: int) -> None:
        self._experts = experts
        self.nbytes = slot_bytes(experts.values())
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a forked process has its own
        self._memory = mmap.mmap(-1, count * self.nbytes, flags=private)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # pages of 2 MB: fewer for the disk to fill, and for processors to find
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        with contextlib.suppress(OSError):  # so that nobody else is promised it; touching it later would slow readers
            self._memory.madvise(_POPULATE_WRITE)
        self._view = memoryview(self._memory)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    def size(self, key: Key) -> int:
        return sum(part.size for part in self._experts[key])

    def take(self, slot: int, key: Key) -> tuple[tuple[int, ...], list[Read]]:
        """Addresses, and reads that go straight to them."""
        start, addresses, reads = slot * self.nbytes, [], []
        for part, extent in enumerate(self._experts[key]):
            first, end = _pages(extent)
            addresses.append(self._base + start + extent.start - first)
            for at in range(first, end, PIECE):
                size = min(PIECE, end - at)
                target = self._view[start + at - first : start + at - first + size]
                need = min(extent.end - at, size)  # the last page may reach beyond the file's end
                reads.append(Read(part, extent.path, at, size, need, target))
            start += end - first
        return tuple(addresses), reads

    def give(self, slot: int) -> None:
        self._memory.madvise(mmap.MADV_DONTNEED, slot * self.nbytes, self.nbytes)


def slot_bytes(experts: Iterable[Sequence[Extent]]) -> int:
    """What the largest expert takes in memory: whole pages around each part."""
    return max(sum(end - first for first, end in map(_pages, parts)) for parts in experts)


def _pages(extent: Extent) -> tuple[int, int]:
    """Where the whole pages around it begin and end."""
    return extent.start // PAGE * PAGE, -(-extent.end // PAGE) * PAGE
