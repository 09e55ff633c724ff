"""The blocks of a quantized format for kernels: what `quant` declares of them, and how their scales are read in IR.

A weight is scale · (code - zero) - minimum. The IR that reads codes follows from the declaration in two domains: along
a row (`fields.row_codes`), and for 16 rows at once with a row in each lane (`fields.tile_codes`). Products, tiles and
rows of floats are made from this by `rows.py` and `tiles.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

import quant
from localmix.backends.numba.machine.dots import lookup16
from localmix.backends.numba.machine.simd import const
from quant.coding import Bits, Coding

# (builder, addresses of blocks) -> scales and minima (None: symmetric). Blocks of 32: a lane a block, any number of
# blocks. Blocks of 256: one block, a lane a group.
Scales = Callable[[ir.IRBuilder, Sequence[Any]], tuple[Any, Any]]
# The same for one block in each of 16 rows: a list of vectors, one for each group, a lane a row.
RowScales = Callable[[ir.IRBuilder, Sequence[Any]], tuple[list[Any], list[Any]]]


@dataclass(frozen=True)
class Codes:
    """One format; `row_scales` is for one with blocks of 256, or one whose words hold more than a scale."""

    name: str
    scales: Scales
    row_scales: RowScales | None = None

    @property
    def coding(self) -> Coding:
        coding = quant.FORMATS[self.name].coding
        assert coding is not None, self.name
        return coding

    @property
    def group(self) -> int:
        """Weights that share a scale: 16 or 32."""
        return self.coding.group

    @property
    def zero(self) -> int:
        """0, and there are minima, or a power of two."""
        return self.coding.zero

    @property
    def parts(self) -> tuple[Bits, ...]:
        return self.coding.parts

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
        return self.coding.most

    def finish(self, b: ir.IRBuilder, bits: Any) -> Any:
        """The codes of assembled bits, <64 x i8>."""
        coding = self.coding
        if coding.levels:
            return lookup16(b, [level + coding.zero for level in coding.levels], bits)
        return b.xor(bits, const(bits.type, coding.zero)) if coding.signed else bits


def offset(name: str, field: str) -> int:
    """Where a field lies in a block of the format."""
    return int(_fields(name)[field][1])


def size(name: str, field: str) -> int:
    """Bytes of a field."""
    return int(_fields(name)[field][0].itemsize)


def _fields(name: str) -> Any:
    return quant.FORMATS[name].dtype.fields
