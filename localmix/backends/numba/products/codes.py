"""How the blocks of a quantized format become unsigned codes, scales and minima: declared, a format a module.

A weight is scale · (code - zero) - minimum. Codes are bit fields (see quant/layout.py), so they are only named; the
IR that reads them follows in two domains: along a row (`fields.row_codes`), and for 16 rows at once with a row in
each lane (`fields.tile_codes`). Products, tiles and rows of floats are made from this by `rows.py` and `tiles.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

import quant

# (builder, addresses of blocks) -> scales and minima (None: symmetric). Blocks of 32: a lane a block, any number of
# blocks. Blocks of 256: one block, a lane a group.
Scales = Callable[[ir.IRBuilder, Sequence[Any]], tuple[Any, Any]]
# The same for one block in each of 16 rows: a list of vectors, one for each group, a lane a row.
RowScales = Callable[[ir.IRBuilder, Sequence[Any]], tuple[list[Any], list[Any]]]


@dataclass(frozen=True)
class Bits:
    """A field of a block that holds `bits` bits of every code, in runs of bytes; they become bits `at` and up."""

    field: str
    bits: int
    run: int
    at: int = 0


@dataclass(frozen=True)
class Codes:
    """One format. `finish` turns the assembled bits, <64 x i8>, into codes, where they are not the codes already;
    `row_scales` is for a format with blocks of 256, or one whose words hold more than a scale."""

    name: str
    group: int  # weights that share a scale: 16 or 32
    zero: int  # 0 or a power of two
    parts: tuple[Bits, ...]
    scales: Scales
    finish: Callable[[ir.IRBuilder, Any], Any] = lambda b, x: x
    row_scales: RowScales | None = None

    @property
    def block(self) -> int:
        """Weights in a block: 32 or 256."""
        return quant.FORMATS[self.name].block

    @property
    def bytes(self) -> int:
        """Bytes of a block."""
        return quant.FORMATS[self.name].dtype.itemsize

    @property
    def most(self) -> int:
        """The largest code that there may be."""
        return 2 * self.zero - 1 if self.zero else (1 << max(part.at + part.bits for part in self.parts)) - 1


def offset(name: str, field: str) -> int:
    """Where a field lies in a block of the format."""
    return int(_fields(name)[field][1])


def size(name: str, field: str) -> int:
    """Bytes of a field."""
    return int(_fields(name)[field][0].itemsize)


def _fields(name: str) -> Any:
    return quant.FORMATS[name].dtype.fields
