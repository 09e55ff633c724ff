"""The matrix of a GGUF tensor, from the parts that a checkpoint has of it: rows chosen, reordered, stacked by expert.

Shapes: E experts · F hidden · D width.
"""

from collections.abc import Callable

import numpy as np

from localmix.convert.matrix import Matrix, Nibbles, Stored
from localmix.convert.rearranged import Chosen, Every, Interleaved, Stack, Transposed
from localmix.convert.rearranged import Part as Some
from localmix.convert.safetensors import Named
from localmix.errors import FileFormatError, UnsupportedError
from localmix.network.layout import Layout, Part

BLOCKS, SCALES = "_blocks", "_scales"
ROWS = {"first": (0, 1), "second": (1, 1), "even": (0, 2), "odd": (1, 2)}


def present(tensors: Named, part: Part) -> bool:
    """Whether the checkpoint has the tensor, or its first expert's."""
    return part.name.replace("{e}", "0") + (BLOCKS if part.mxfp4 else "") in tensors


class Lookup:
    """The matrices of a checkpoint by their GGUF names. `heads` gives a number of heads by its key."""

    def __init__(self, kin: Layout, tensors: Named, experts: int, heads: Callable[[str], int], size: int) -> None:
        self.kin, self.tensors, self.experts, self.heads, self.size = kin, tensors, experts, heads, size

    def part(self, name: str) -> Part | None:
        """Where the tensor is to be found: the first place that there is; None: the table knows none."""
        parts = self.kin.parts(name)
        return next((part for part in parts if present(self.tensors, part)), next(iter(parts), None))

    def __contains__(self, name: str) -> bool:
        part = self.part(name)
        return part is not None and present(self.tensors, part)

    def __call__(self, name: str, shape: tuple[int, ...]) -> Matrix:
        """The tensor called `name`, wanted in this shape."""
        part = self.part(name)
        if part is None:
            raise UnsupportedError(f"{self.tensors.folder}: checkpoints of this family have no {name}")
        if "{e}" in part.name:
            return Stack([self.tensors.take(part.name.format(e=e)) for e in range(self.experts)])
        base: Matrix
        if part.mxfp4:
            base = Nibbles(self.tensors.bytes(part.name + BLOCKS), self.tensors.bytes(part.name + SCALES))
        else:
            base = self.tensors.take(part.name)
        if name.endswith(".bias"):
            return self.bias(base, part)
        if part.heads:
            return self.interleaved(base, self.heads(part.heads))
        if part.rows == "all" and not part.transposed:
            return base
        experts = shape[0] if len(shape) == 3 else 1
        return Stack([self.expert(base, part, (e, experts), shape[-2], shape[-1]) for e in range(experts)])

    def expert(self, base: Matrix, part: Part, which: tuple[int, int], rows: int, width: int) -> Matrix:
        """The `rows` of one expert in a tensor that holds them all; `which` of how many."""
        e, experts = which
        stored = rows if part.rows == "all" else 2 * rows
        one: Matrix
        if part.transposed:
            if not isinstance(base, Stored):
                raise UnsupportedError(f"{base.origin(0)}: transposed weights of 8 bits are not supported")
            expected, found = (width * experts, stored), (base.rows, base.width)
            one = Transposed(base, e * width, width)
        else:
            expected, found = (stored * experts, width), (base.rows, base.width)
            one = Some(base, e * stored, stored)
        if found != expected:
            raise FileFormatError(
                f"{base.origin(0)}: has {found[0]} rows of {found[1]}, expected {expected[0]} of {expected[1]} for "
                f"{experts} experts: the configuration contradicts the tensors"
            )
        if part.rows == "all":
            return one
        first, step = ROWS[part.rows]
        return Some(one, first * rows, rows) if step == 1 else Every(one, first, step)

    def interleaved(self, base: Matrix, heads: int) -> Matrix:
        if base.rows != heads * self.size:
            expected = f"{heads} heads of {self.size}"
            raise FileFormatError(f"{base.origin(0)} has {base.rows} rows, expected {expected}")
        return Interleaved(base, heads)

    def bias(self, base: Matrix, part: Part) -> Matrix:
        """A bias lies along a row: of all experts, a row each."""
        columns = np.arange(base.width)
        if part.heads:
            heads = self.heads(part.heads)
            if base.width != heads * self.size:
                raise FileFormatError(f"{base.origin(0)}: {base.width} numbers, expected {heads} heads of {self.size}")
            columns = columns.reshape(heads, 2, -1).swapaxes(1, 2).ravel()
        if part.rows != "all":
            which, step = ROWS[part.rows]
            half = base.width // 2
            columns = columns[which::2] if step == 2 else columns[which * half : (which + 1) * half]
        return base if part.rows == "all" and not part.heads else Chosen(base, columns)
