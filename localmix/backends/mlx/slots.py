"""Slots of a pool in MLX's memory, which the host writes and the device reads: experts are repacked as they come.

A slot's arrays stay the same while one matrix follows another of the same kind. MLX takes arrays for values and
computes when it is asked to: whatever reads a slot must be evaluated before its expert is released.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from localmix.backends.mlx.matrix import Arithmetic, Matrix
from localmix.backends.mlx.repack import Blank, blank, put
from localmix.engine.weights import Weight
from localmix.stream.files import PAGE
from localmix.stream.readers import PIECE, Read
from localmix.stream.slots import Key

Parts = tuple[Weight, ...]  # gate, up and down of an expert
Kind = tuple[str, tuple[int, int]]  # format and shape of a part


@dataclass(frozen=True)
class _Slot:
    kind: Kind
    blank: Blank
    matrix: Matrix  # a stack of one, (1, out, in)


class DeviceSlots:
    """`experts`: their parts, which are in files. Memory is taken as slots are first used."""

    def __init__(self, experts: Mapping[Key, Parts], arithmetic: Arithmetic) -> None:
        self._experts, self._arithmetic = experts, arithmetic
        self._slots: dict[int, _Slot] = {}
        forms = {arithmetic.form(part.format).kind for parts in experts.values() for part in parts}
        self.repacks = forms != {"blocks"}
        kinds = {_kind(part): part for parts in experts.values() for part in parts}
        self._sizes = {kind: self._slot(part).matrix.nbytes for kind, part in kinds.items()}
        self.nbytes = max(sum(self.sizes(key)) for key in experts)

    @property
    def used(self) -> int:
        """Bytes of all slots that are taken."""
        return sum(slot.matrix.nbytes for slot in self._slots.values())

    def sizes(self, key: Key) -> tuple[int, ...]:
        return tuple(self._sizes[_kind(part)] for part in self._experts[key])

    def make(self, sizes: Sequence[int]) -> None:
        pass

    def take(self, slot: int, key: Key, part: int) -> tuple[Matrix, list[Read]]:
        """A matrix of an expert, and reads of whole rows that are repacked by who reads them."""
        weight, found = self._experts[key][part], self._slots.get(slot)
        if found is None or found.kind != _kind(weight):
            self._slots.pop(slot, None)
            found = self._slots[slot] = self._slot(weight)
        return found.matrix, _reads(part, weight, found.blank)

    def give(self, slot: int) -> None:
        self._slots.pop(slot, None)
        mx.clear_cache()

    def _slot(self, weight: Weight) -> _Slot:
        made = blank(weight.format, (1, *weight.shape), self._arithmetic)
        return _Slot(_kind(weight), made, made.matrix())


def _kind(weight: Weight) -> Kind:
    return weight.format.name, weight.shape


def _reads(part: int, weight: Weight, made: Blank) -> list[Read]:
    """Of all rows of a matrix, some at a time."""
    extent, (out, _) = weight.extent, weight.shape
    assert extent is not None, f"{weight.name} is in no file"
    row = extent.size // out
    step = max(1, PIECE // row)
    return [_read(part, weight, made, slice(at, min(at + step, out)), extent.start, row) for at in range(0, out, step)]


def _read(part: int, weight: Weight, made: Blank, rows: slice, start: int, row: int) -> Read:
    """Of some rows, each of so many bytes: the whole pages around them."""
    assert weight.extent is not None
    begin, end = start + rows.start * row, start + rows.stop * row
    first, last = begin // PAGE * PAGE, -(-end // PAGE) * PAGE
    count, blocks = rows.stop - rows.start, row // weight.format.dtype.itemsize

    def repack(pages: memoryview) -> None:
        found = np.frombuffer(pages, weight.format.dtype, count * blocks, begin - first)
        put(weight, found.reshape(count, blocks), rows.start, made.fill)

    return Read(part, weight.extent.path, first, last - first, end - first, put=repack)
