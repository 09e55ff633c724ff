"""Sequences that begin alike as a tree of stretches of ids, so that what they share is computed once.

Plain Python on lists of ids; what is done with a stretch is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

WORTH = 8  # ids from the beginning that sequences must share for it to be kept apart: not a BOS alone


@dataclass(eq=False)
class Stretch:
    """The ids from position `start` on that follow `parent`'s, shared by all sequences that pass here.

    A single one comes with the parent's last before it: alone it would be computed as decoding does, with other bits.
    """

    start: int
    ids: Sequence[int]
    parent: "Stretch | None"
    children: list["Stretch"] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The position of the first id that is not the parent's."""
        return self.parent.end if self.parent is not None else 0

    @property
    def end(self) -> int:
        return self.start + len(self.ids)


def tree(sequences: Sequence[Sequence[int]]) -> tuple[list[Stretch], list[Stretch]]:
    """All stretches, parents before children and subtrees together, and for each sequence the one that it ends in.

    Sequences are not empty.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    found: list[Stretch] = []
    ends: dict[int, Stretch] = {}

    def stretch(end: int, ids: Sequence[int], parent: Stretch | None) -> Stretch:
        start = parent.end if parent is not None else 0
        start -= parent is not None and end - start == 1
        found.append(Stretch(start, ids[start:end], parent))
        if parent is not None:
            parent.children.append(found[-1])
        return found[-1]

    waiting: list[tuple[int, int, int, Stretch | None]] = [(0, len(order), 0, None)] if order else []  # alike so far
    while waiting:
        low, high, alike, parent = waiting.pop()
        first, last = sequences[order[low]], sequences[order[high - 1]]
        alike = alike_up_to(first, last, alike)
        if parent is not None or alike >= WORTH or alike == len(last):
            parent = stretch(alike, first, parent)
        own = parent
        while low < high and len(sequences[order[low]]) == alike:  # they come first
            own = own or stretch(alike, first, None)
            ends[order[low]] = own
            low += 1
        parts = []
        while low < high:
            beyond, id = low + 1, sequences[order[low]][alike]
            while beyond < high and sequences[order[beyond]][alike] == id:
                beyond += 1
            parts.append((low, beyond, alike, parent))
            low = beyond
        waiting += reversed(parts)
    return found, [ends[i] for i in range(len(sequences))]


def alike_up_to(a: Sequence[int], b: Sequence[int], start: int = 0) -> int:
    """How many ids both begin with, `start` of which are known."""
    most = min(len(a), len(b))
    while start < most and a[start] == b[start]:
        start += 1
    return start
