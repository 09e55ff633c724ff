"""A bounded pool of experts: a slot for each matrix, filled from files by several readers; those of the expert that was
least used make room.

An expert is asked for with `hold`, which begins to read what is not here of it, waited for with `wait`, part by part,
and given back with `release`; until then it stays. Knows files and numbers, no backend and no arithmetic.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localmix.errors import LocalmixError
from localmix.gguf.tensors import Extent
from localmix.stream.counts import Counts
from localmix.stream.files import DirectFile
from localmix.stream.readers import READERS, Piece, Readers
from localmix.stream.slots import Key, Mapped, Slots
from localmix.stream.table import Held, Kind, Table, kinds

_SMALL = 8 << 20  # bytes of slots that are given up side by side: of one alone no whole pages of 2 MB would be free


class Pool:
    """`experts`: where the parts of each expert lie. `nbytes`: of the slots that take these parts, one each. `spare`:
    bytes beside the pool that others may take before slots are given up for them, see `make_way`. `memory`: of slots;
    None: private.
    """

    def __init__(
        self, experts: Mapping[Key, Sequence[Extent]], nbytes: int, spare: int = 0, memory: Slots | None = None
    ) -> None:
        self._files = {path: DirectFile(path) for path in {p.path for parts in experts.values() for p in parts}}
        for file in self._files.values():
            file.forget()
        self._memory = Mapped(experts) if memory is None else memory
        self._sizes = {key: self._memory.sizes(key) for key in experts}
        self._most, self._spare = nbytes, spare
        self._readers = Readers(READERS)
        self._wanted = self._bytes_read = 0
        self._hits = self._waited = 0.0
        self._begin_anew()
        self._memory.make([kind.size for kind in self._table.kinds for _ in range(kind.count)])

    @property
    def experts(self) -> int:
        """In the files, of all layers."""
        return len(self._sizes)

    @property
    def expert_bytes(self) -> int:
        """Of the largest, as slots have it."""
        return self._memory.nbytes

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
        return sum(map(sum, self._sizes.values()))

    @property
    def slots(self) -> int:
        """That are not given up."""
        return sum(kind.count - kind.given for kind in self._table.kinds)

    @property
    def nbytes(self) -> int:
        """Of all slots that are not given up."""
        return sum(kind.size * (kind.count - kind.given) for kind in self._table.kinds)

    @property
    def keys(self) -> list[Key]:
        """Of all experts, layer by layer."""
        return sorted(self._sizes)

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
                    self._table.pin(held)
                    self._hits += held.share
                    found[key] = held
            self._wanted += len(keys)
            try:
                for key in keys:
                    if key not in found:
                        found[key] = Held.nothing_of(key, len(self._sizes[key]))
                        self._table.pin(found[key])
                    self._table.touch(found[key])
                    self._complete(found[key], turn)
            except BaseException:
                self._unpin(found.values())
                raise
            return [found[key] for key in keys]

    def has(self, key: Key) -> bool:
        """Whether all of an expert is here, or on its way."""
        with self._changed:
            held = self._table.here.get(key)
            return held is not None and held.whole

    def room(self) -> int:
        """Experts for which there are slots that nobody holds."""
        return self._table.room

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
        """Others have taken so many bytes: what goes beyond the spare ones is given up, but for two experts."""
        with self._changed:
            wanted = taken - self._spare
            while self._given_bytes < wanted:
                kind = max(self._table.kinds, key=lambda kind: kind.spared)
                if not kind.spared:
                    break
                slot = self._table.vacate(kind) if kind.size < _SMALL else None
                slot = self._slot(kind, None) if slot is None else slot
                kind.given += 1
                self._given.append((kind, slot))
                self._memory.give(slot)
            while self._given and self._given_bytes - self._given[-1][0].size >= wanted:
                kind, slot = self._given.pop()
                kind.free.append(slot)
                kind.given -= 1

    def check(self) -> None:
        """FileFormatError: a file is not what it was when the pool was made, so nothing read from it counts."""
        for file in self._files.values():
            file.check()

    def _complete(self, held: Held, turn: int | None) -> None:
        """Find slots for what is not there of an expert that is held, and have them filled."""
        pieces: list[Piece] = []
        try:
            for part, size in enumerate(self._sizes[held.key]):
                if held.slots[part] is None:
                    pieces += self._begin(held, part, self._kinds[size], turn)
        finally:
            if pieces:
                self._readers.add(pieces)

    def _begin(self, held: Held, part: int, kind: Kind, turn: int | None) -> list[Piece]:
        slot = self._slot(kind, turn)
        try:
            place, reads = self._memory.take(slot, held.key, part)
        except BaseException:
            kind.free.append(slot)
            raise
        self._table.enter(held, part, slot, place)
        held.left[part] = len(reads)
        return [Piece(self._files[r.path], r, _Done(self, held, part, r.size)) for r in reads]

    def _slot(self, kind: Kind, turn: int | None) -> int:
        """One that is free, or that of the part to give up; waits for slots that nobody wants any more."""
        while not kind.free:
            slot = self._table.evict(kind, turn)
            if slot is not None:
                return slot
            if kind.held == kind.count - kind.given:
                raise MemoryError(f"the pool has {self.slots} slots, and those of {kind.size} bytes are all in use")
            self._changed.wait()
        return kind.free.pop()

    def _came(self, held: Held, part: int, size: int, error: LocalmixError | None) -> None:
        """A reader is done with a piece."""
        with self._changed:
            held.left[part] -= 1
            self._bytes_read += size
            if error is not None:
                held.error = held.error or error
                self._table.drop(held)
            if not any(held.left):
                self._table.settle(held)
            if error is not None or not held.left[part]:  # nobody waits for less than a part
                self._changed.notify_all()

    def _unpin(self, every: Iterable[Held]) -> None:
        for held in every:
            self._table.unpin(held)
        self._changed.notify_all()

    @property
    def _given_bytes(self) -> int:
        return sum(kind.size for kind, _ in self._given)

    def _begin_anew(self) -> None:
        """With nothing in the slots."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        every = kinds(self._sizes, self._most)
        self._kinds = {kind.size: kind for kind in every}
        self._table = Table(every, 1 + max(layer for layer, _ in self._sizes))
        self._given: list[tuple[Kind, int]] = []  # slots whose memory others have


@dataclass(frozen=True, eq=False)
class _Done:
    """What a reader calls when it is done with a piece."""

    pool: Pool
    held: Held
    part: int
    size: int

    def __call__(self, error: LocalmixError | None) -> None:
        self.pool._came(self.held, self.part, self.size, error)
