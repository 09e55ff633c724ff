"""What is in a pool's slots: experts, all of whose matrices are there or some, and which of these may be given up.

A slot holds one matrix, and takes those of one size alone: of each size there is a share of the slots.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localmix.errors import LocalmixError
from localmix.stream.slots import Key
from localmix.stream.uses import Uses

LEAST = 2  # experts that a pool has room for


@dataclass(eq=False)
class Held:
    """An expert, of whose parts some are in slots, or on their way there; `places` of these, as slots have them."""

    key: Key
    slots: list[int | None]
    places: list[Any]
    left: list[int]  # pieces of each part that are still to come
    pins: int = 0
    error: LocalmixError | None = None

    @classmethod
    def nothing_of(cls, key: Key, parts: int) -> "Held":
        return cls(key, [None] * parts, [None] * parts, [0] * parts)

    @property
    def whole(self) -> bool:
        """Whether all of it is there, or on its way."""
        return None not in self.slots

    @property
    def share(self) -> float:
        """Of its parts, how many are there, or on their way."""
        return 1 - self.slots.count(None) / len(self.slots)

    def here(self, parts: Iterable[int]) -> bool:
        """Whether these parts have come. Errors count as here: `wait` raises them."""
        return self.error is not None or not any(self.left[part] for part in parts)


@dataclass(eq=False)
class Kind:
    """The slots of one size, from `first` on. `most`: parts of an expert that take one of them."""

    size: int
    first: int
    count: int
    most: int
    free: list[int] = field(default_factory=list)
    held: int = 0  # slots of experts that somebody holds
    given: int = 0  # slots whose memory others have

    @property
    def room(self) -> int:
        """Experts for which there are slots that nobody holds."""
        return (self.count - self.given - self.held) // self.most

    @property
    def spared(self) -> float:
        """The share of its slots that is left; 0: no more of them may be given up."""
        left = self.count - self.given
        return left / self.count if left > self.most * LEAST else 0.0


def kinds(sizes: Mapping[Key, tuple[int, ...]], nbytes: int) -> list[Kind]:
    """Of every size of parts the slots that a pool of `nbytes` has: as large a share of them as of all others, and no
    fewer than `LEAST` experts need; what is left below a slot of each goes to large ones.
    """
    every = Counter(size for parts in sizes.values() for size in parts)
    most = {size: max(parts.count(size) for parts in sizes.values()) for size in every}
    total = sum(size * count for size, count in every.items())
    counts = {s: min(max(nbytes * n // total, LEAST * most[s]), n) for s, n in every.items()}
    for size in sorted(every, reverse=True):
        left = nbytes - sum(s * count for s, count in counts.items())
        counts[size] = min(counts[size] + max(left, 0) // size, every[size])
    found: list[Kind] = []
    for size, count in counts.items():
        first = found[-1].first + found[-1].count if found else 0
        found.append(Kind(size, first, count, most[size], list(range(first, first + count))))
    return found


class Table:
    """All slots, and what is in them: of every layer in order of last use."""

    def __init__(self, kinds: list[Kind], layers: int) -> None:
        self.kinds, self.layers = kinds, layers
        self._kinds = [kind for kind in kinds for _ in range(kind.count)]  # of each slot
        self.uses = Uses(layers, len(self._kinds))
        self.here: dict[Key, Held] = {}
        self._layers: dict[int, OrderedDict[Key, Held]] = {}
        self._idle: dict[int, tuple[Held, int]] = {}  # parts that may be given up, by their slots

    @property
    def room(self) -> int:
        """Experts for which there are slots that nobody holds."""
        return min(kind.room for kind in self.kinds)

    def touch(self, held: Held) -> None:
        layer = self._layers.setdefault(held.key[0], OrderedDict())
        self.here[held.key] = layer[held.key] = held
        layer.move_to_end(held.key)

    def drop(self, held: Held) -> None:
        if self.here.get(held.key) is held:
            del self.here[held.key], self._layers[held.key[0]][held.key]

    def enter(self, held: Held, part: int, slot: int, place: Any) -> None:
        """A slot is taken by a part of an expert that is held."""
        held.slots[part], held.places[part] = slot, place
        self._kinds[slot].held += 1

    def pin(self, held: Held) -> None:
        if not held.pins:
            self._count(held, 1)
        held.pins += 1
        self.settle(held)

    def unpin(self, held: Held) -> None:
        held.pins -= 1
        if not held.pins:
            self._count(held, -1)
        self.settle(held)

    def settle(self, held: Held) -> None:
        """It was held, given back, read, or dropped: from now on it stays, or may be given up; what could not be read
        leaves its slots once nobody reads into them or looks at them.
        """
        free = not held.pins and not any(held.left)
        for part, slot in enumerate(held.slots):
            if slot is None:
                continue
            if free and held.error is not None:
                self._empty(held, part)
                self._kinds[slot].free.append(slot)
            elif free:
                self._idle[slot] = held, part
                self.uses.offer(slot, held.key, part)
            elif self._idle.pop(slot, None):
                self.uses.keep(slot)

    def evict(self, kind: Kind, turn: int | None) -> int | None:
        """Give up the part that is worth least, or, in a pass of all layers in turn that is at layer `turn`, one that
        is wanted last; None: none may be.
        """
        slot = self.uses.least(kind.first, kind.count) if turn is None else self._last(kind, turn)
        if slot is not None:
            self._give_up(slot)
        return slot

    def vacate(self, kind: Kind) -> int | None:
        """The last of its slots that is free or may be, whatever is in it, so that those given up lie side by side."""
        if kind.free:
            kind.free.remove(last := max(kind.free))
            return last
        slots = range(kind.first + kind.count - 1, kind.first - 1, -1)
        slot = next((slot for slot in slots if slot in self._idle), None)
        if slot is not None:
            self._give_up(slot)
        return slot

    def _last(self, kind: Kind, turn: int) -> int | None:
        for back in range(self.layers):
            for held in reversed(self._layers.get((turn - back) % self.layers, {}).values()):
                if held.pins:  # as most of a layer are that is being computed
                    continue
                for slot in reversed(held.slots):
                    if slot in self._idle and self._kinds[slot] is kind:
                        return slot
        return None

    def _give_up(self, slot: int) -> None:
        held, part = self._idle[slot]
        self._empty(held, part)
        if held.slots == [None] * len(held.slots):
            self.drop(held)

    def _empty(self, held: Held, part: int) -> None:
        slot = held.slots[part]
        assert slot is not None
        held.slots[part] = held.places[part] = None
        if self._idle.pop(slot, None):
            self.uses.keep(slot)

    def _count(self, held: Held, by: int) -> None:
        for slot in held.slots:
            if slot is not None:
                self._kinds[slot].held += by
