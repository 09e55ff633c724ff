"""A bounded pool of experts: slots of one size, filled from files by several readers; who was least used makes room.

An expert is asked for with `hold`, which begins to read it where it is not here, waited for with `wait`, part by part,
and given back with `release`; until then it stays. Knows files and numbers, no backend and no arithmetic.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localmix.errors import LocalmixError
from localmix.gguf.tensors import Extent
from localmix.stream.counts import Counts
from localmix.stream.files import DirectFile
from localmix.stream.readers import READERS, Piece, Readers
from localmix.stream.slots import Key, Mapped, Slots
from localmix.stream.uses import Uses

LEAST = 2  # slots


@dataclass(eq=False)
class Held:
    """An expert in a slot, or on its way there; `places` of its parts, as slots have them, once these have come."""

    key: Key
    slot: int
    places: tuple[Any, ...]
    left: list[int]  # pieces of each part that are still to come
    pins: int = 0
    error: LocalmixError | None = None

    def here(self, parts: Iterable[int]) -> bool:
        """Whether these parts have come. Errors count as here: `wait` raises them."""
        return self.error is not None or not any(self.left[part] for part in parts)


@dataclass
class _Table:
    """What is in the slots: of all layers, of each in order of last use, and what may be given up, by its slot."""

    free: list[int]
    uses: Uses
    here: dict[Key, Held] = field(default_factory=dict)
    layers: dict[int, OrderedDict[Key, Held]] = field(default_factory=dict)
    idle: dict[int, Held] = field(default_factory=dict)

    def touch(self, held: Held) -> None:
        layer = self.layers.setdefault(held.key[0], OrderedDict())
        self.here[held.key] = layer[held.key] = held
        layer.move_to_end(held.key)

    def drop(self, held: Held) -> None:
        if self.here.get(held.key) is held:
            del self.here[held.key], self.layers[held.key[0]][held.key]

    def settle(self, held: Held) -> None:
        """It was held, given back, read, or dropped: from now on it stays, or may be given up."""
        if self.here.get(held.key) is held and not held.pins and not any(held.left):
            self.idle[held.slot] = held
            self.uses.offer(held.slot, held.key)
        elif self.idle.get(held.slot) is held:
            del self.idle[held.slot]
            self.uses.keep(held.slot)


class Pool:
    """`experts`: where the parts of each expert lie. `slots`: how many of them have room. `spare`: bytes beside the
    pool that others may take before slots are given up for them, see `make_way`. `memory`: of slots; None: private.
    """

    def __init__(
        self, experts: Mapping[Key, Sequence[Extent]], slots: int, spare: int = 0, memory: Slots | None = None
    ) -> None:
        self._experts = {key: tuple(parts) for key, parts in experts.items()}
        self.slots, self._spare = min(slots, len(self._experts)), spare
        self._files = {path: DirectFile(path) for path in {p.path for parts in self._experts.values() for p in parts}}
        for file in self._files.values():
            file.forget()
        self._memory = Mapped(self._experts, self.slots) if memory is None else memory
        self.slot_bytes = self._memory.nbytes
        self._layers = 1 + max(layer for layer, _ in self._experts)
        self._readers = Readers(READERS)
        self._wanted = self._hits = self._bytes_read = 0
        self._waited = 0.0
        self._begin_anew()

    @property
    def experts(self) -> int:
        """In the files, of all layers."""
        return len(self._experts)

    @property
    def direct(self) -> bool:
        """Whether reads go past the system's cache."""
        return all(file.direct for file in self._files.values())

    @property
    def repacks(self) -> bool:
        """Whether experts are repacked as they come, which counts as reading."""
        return self._memory.repacks

    @property
    def counts(self) -> Counts:
        """Since the pool was made."""
        return Counts(self._wanted, self._hits, self._bytes_read, self._readers.busy, self._waited)

    @property
    def experts_bytes(self) -> int:
        """Of all experts, as slots have them."""
        return sum(map(self._memory.size, self._experts))

    @property
    def nbytes(self) -> int:
        """Of all slots."""
        return self.slots * self.slot_bytes

    @property
    def keys(self) -> list[Key]:
        """Of all experts, layer by layer."""
        return sorted(self._experts)

    def hold(self, keys: Sequence[Key], turn: int | None = None) -> list[Held]:
        """Have these, and read those that are not here, in this order; none is given up before its `release`.

        `turn`: the layer of a pass that takes all layers in turn and most of their experts, so that those which were
        used last are wanted last. MemoryError: more than there are slots.
        """
        if self._process != os.getpid():  # what another process was reading never comes
            self._begin_anew()
        with self._changed:
            self._table.uses.add(keys)
            found: dict[Key, Held] = {}
            for key in keys:  # what is here is held before room is made for the rest
                held = self._table.here.get(key)
                if held is not None:
                    self._pin(held)
                    found[key] = held
            self._wanted += len(keys)
            self._hits += len(found)
            try:
                for key in keys:
                    if key not in found:
                        found[key] = self._begin(key, turn)
                    self._table.touch(found[key])
            except BaseException:
                self._unpin(found.values())
                raise
            return [found[key] for key in keys]

    def has(self, key: Key) -> bool:
        """Whether an expert is here, or on its way."""
        with self._changed:
            return key in self._table.here

    def room(self) -> int:
        """Slots that nobody holds."""
        return self.slots - self._pinned

    def wait(self, held: Held, parts: Iterable[int]) -> tuple[Any, ...]:
        """The places of these parts, once they have come. LocalmixError: they cannot be read."""
        parts = tuple(parts)
        if not held.here(parts):
            began = time.perf_counter()
            with self._changed:
                while not held.here(parts):
                    self._changed.wait()
                self._waited += time.perf_counter() - began
        if held.error is not None:
            raise held.error
        return tuple(held.places[part] for part in parts)

    def release(self, every: Iterable[Held]) -> None:
        with self._changed:
            self._unpin(every)

    def make_way(self, taken: int) -> None:
        """Others have taken so many bytes: what goes beyond the spare ones is given up, but for two slots."""
        with self._changed:
            every = self.slots + len(self._given)
            wanted = min(max(-(-(taken - self._spare) // self.slot_bytes), 0), every - min(every, LEAST))
            while len(self._given) < wanted:
                slot = self._slot(None)
                self.slots -= 1
                self._given.append(slot)
                self._memory.give(slot)
            while len(self._given) > wanted:
                self._table.free.append(self._given.pop())
                self.slots += 1

    def check(self) -> None:
        """FileFormatError: a file is not what it was when the pool was made, so nothing read from it counts."""
        for file in self._files.values():
            file.check()

    def _begin(self, key: Key, turn: int | None) -> Held:
        """Find a slot and have it filled."""
        slot = self._slot(turn)
        try:
            places, reads = self._memory.take(slot, key)
        except BaseException:
            self._table.free.append(slot)
            raise
        held = Held(key, slot, places, [0] * len(places))
        self._pin(held)
        for read in reads:
            held.left[read.part] += 1
        self._readers.add([Piece(self._files[r.path], r, _Done(self, held, r.part, r.size)) for r in reads])
        return held

    def _slot(self, turn: int | None) -> int:
        """One that is free, or that of the expert to give up; waits for slots that nobody wants any more."""
        table = self._table
        while not table.free:
            held = self._idle(turn)
            if held is not None:
                table.drop(held)
                table.settle(held)
                return held.slot
            if self._pinned == self.slots:
                raise MemoryError(f"the pool has {self.slots} slots, and all are in use")
            self._changed.wait()
        return table.free.pop()

    def _idle(self, turn: int | None) -> Held | None:
        """The expert to give up."""
        table = self._table
        if turn is None:
            slot = table.uses.least()
            return None if slot is None else table.idle[slot]
        turns = ((turn - back) % self._layers for back in range(self._layers))
        layers = (table.layers[layer] for layer in turns if layer in table.layers)
        return next((held for layer in layers for held in reversed(layer.values()) if held.slot in table.idle), None)

    def _came(self, held: Held, part: int, size: int, error: LocalmixError | None) -> None:
        """A reader is done with a piece."""
        with self._changed:
            held.left[part] -= 1
            self._bytes_read += size
            if error is not None:
                held.error = held.error or error
                self._table.drop(held)
            self._free(held)
            self._table.settle(held)
            if error is not None or not held.left[part]:  # nobody waits for less than a part
                self._changed.notify_all()

    def _pin(self, held: Held) -> None:
        self._pinned += held.pins == 0
        held.pins += 1
        self._table.settle(held)

    def _unpin(self, every: Iterable[Held]) -> None:
        for held in every:
            held.pins -= 1
            self._pinned -= held.pins == 0
            self._free(held)
            self._table.settle(held)
        self._changed.notify_all()

    def _free(self, held: Held) -> None:
        """The slot of what could not be read, once nobody reads into it or looks at it."""
        if held.error is not None and not held.pins and not any(held.left) and held.slot >= 0:
            self._table.free.append(held.slot)
            held.slot = -1

    def _begin_anew(self) -> None:
        """With nothing in the slots."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._table = _Table(list(range(self.slots)), Uses(self._layers, self.slots))
        self._pinned = 0  # slots that somebody holds
        self._given: list[int] = []  # slots whose memory others have


@dataclass(frozen=True, eq=False)
class _Done:
    """What a reader calls when it is done with a piece."""

    pool: Pool
    held: Held
    part: int
    size: int

    def __call__(self, error: LocalmixError | None) -> None:
        self.pool._came(self.held, self.part, self.size, error)
