"""Rearrangements of matrices: rows of others, their columns, their transpose, stacked or reordered.

What a rearranged tensor looks like is known before its values are, so none is ever whole in memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from localmix.convert.matrix import Matrix, Stored
from localmix.errors import FileFormatError
from quant import Format
from quant.format import Floats


class Part(Matrix):
    """`rows` rows of another matrix, from `first` on."""

    def __init__(self, base: Matrix, first: int, rows: int) -> None:
        self.base, self.first = base, first
        self.rows, self.width = rows, base.width

    def origin(self, row: int) -> str:
        return self.base.origin(self.first + row)

    def read(self, start: int, stop: int) -> Floats:
        return self.base.read(self.first + start, self.first + stop)

    def blocks(self, start: int, stop: int, format: Format) -> NDArray | None:
        return self.base.blocks(self.first + start, self.first + stop, format)

    @property
    def holds(self) -> Format | None:
        return self.base.holds


class Every(Matrix):
    """Every `step`-th row of another matrix, from `first` on."""

    def __init__(self, base: Matrix, first: int, step: int) -> None:
        self.base, self.first, self.step = base, first, step
        self.rows, self.width = (base.rows - first + step - 1) // step, base.width

    def origin(self, row: int) -> str:
        return self.base.origin(self.first + row * self.step)

    def read(self, start: int, stop: int) -> Floats:
        first, last = self.first + start * self.step, self.first + (stop - 1) * self.step
        return np.ascontiguousarray(self.base.read(first, last + 1)[:: self.step])

    def blocks(self, start: int, stop: int, format: Format) -> NDArray | None:
        first, last = self.first + start * self.step, self.first + (stop - 1) * self.step
        stored = self.base.blocks(first, last + 1, format)
        return None if stored is None else np.ascontiguousarray(stored[:: self.step])

    @property
    def holds(self) -> Format | None:
        return self.base.holds


class Chosen(Matrix):
    """Some columns of another matrix, in another order."""

    def __init__(self, base: Matrix, columns: NDArray[np.intp]) -> None:
        self.base, self.columns = base, columns
        self.rows, self.width = base.rows, len(columns)

    def origin(self, row: int) -> str:
        return self.base.origin(row)

    def read(self, start: int, stop: int) -> Floats:
        return np.ascontiguousarray(self.base.read(start, stop)[:, self.columns])


class Transposed(Matrix):
    """The columns of `width` rows of a stored matrix, from row `first` on, as rows."""

    def __init__(self, base: Stored, first: int, width: int) -> None:
        self.base, self.first = base, first
        self.rows, self.width = base.width, width

    def origin(self, row: int) -> str:
        return self.base.origin(self.first)

    def read(self, start: int, stop: int) -> Floats:
        return np.ascontiguousarray(self.base.columns(self.first, self.first + self.width, start, stop).T)


class Stack(Matrix):
    """Matrices of one shape on top of each other: the experts of a layer."""

    def __init__(self, parts: Sequence[Matrix]) -> None:
        self.parts = parts
        self.height, self.width = parts[0].rows, parts[0].width
        for part in parts:
            if (part.rows, part.width) != (self.height, self.width):
                raise FileFormatError(
                    f"{part.origin(0)}: {part.rows} rows of {part.width}, expected {self.height} of {self.width} "
                    f"as in {parts[0].origin(0)}"
                )
        self.rows = self.height * len(parts)

    def origin(self, row: int) -> str:
        return self.parts[row // self.height].origin(row % self.height)

    def read(self, start: int, stop: int) -> Floats:
        return joined([part.read(first, last) for part, first, last in self._pieces(start, stop)])

    def blocks(self, start: int, stop: int, format: Format) -> NDArray | None:
        pieces = [part.blocks(first, last, format) for part, first, last in self._pieces(start, stop)]
        stored = [piece for piece in pieces if piece is not None]
        return joined(stored) if len(stored) == len(pieces) else None

    @property
    def holds(self) -> Format | None:
        return self.parts[0].holds

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[Matrix, int, int]]:
        """The parts that rows start to stop lie in, and which of their own rows."""
        for index in range(start // self.height, -(-stop // self.height)):
            top = index * self.height
            yield self.parts[index], max(start - top, 0), min(stop - top, self.height)


def joined(pieces: list[NDArray]) -> NDArray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Interleaved(Matrix):
    """Queries or keys whose heads rotate halves (i, i + n/2), reordered so that they rotate pairs (2i, 2i + 1).

    Hugging Face stores the first order; GGUF's "llama" and Mistral's own files have the second.
    """

    def __init__(self, base: Matrix, heads: int) -> None:
        self.base = base
        self.rows, self.width = base.rows, base.width
        self.head = base.rows // heads

    def origin(self, row: int) -> str:
        return self.base.origin(row)

    def read(self, start: int, stop: int) -> Floats:
        first = start // self.head * self.head
        whole = self.base.read(first, -(-stop // self.head) * self.head)
        halves = whole.reshape(-1, 2, self.head // 2, self.width)
        return halves.swapaxes(1, 2).reshape(-1, self.width)[start - first : stop - first]
