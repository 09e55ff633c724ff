"""The heads of blocks of 32, what they hold besides codes, copied to where those of 16 rows lie side by side.

Single numbers of 16 rows take longer to be put into a vector than all else that is done to them, and bytes that are
copied take none of the vector units' time. Where rows are read one by one and scaled later (tables.py), their heads
would come from the second level once more.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import I64, load, store
from localmix.backends.numba.passes.records import ROWS
from localmix.backends.numba.products.codes import Codes, offset, size
from quant import FORMATS


class Heads:
    """Where the heads of a format are and go: one place of a block in each of 16 rows after another."""

    def __init__(self, codes: Codes) -> None:
        held, names = {part.field for part in codes.parts}, FORMATS[codes.name].dtype.names or ()
        fields = [(offset(codes.name, name), size(codes.name, name)) for name in names if name not in held]
        self.first = min(at for at, _ in fields)
        self.size = max(at + count for at, count in fields) - self.first
        self.bytes = ROWS * self.size
        self.copied = codes.block == 32  # larger blocks have so few that it takes longer

    def copy(self, b: ir.IRBuilder, blocks: Sequence[Any], to: Any, apart: int) -> None:
        """Those of some blocks, to places `apart` bytes from each other."""
        for i, block in enumerate(blocks if self.copied else ()):
            head = load(b, ir.IntType(8 * self.size), block, self.first)
            store(b, head, b.add(to, I64(i * apart)))

    def blocks(self, b: ir.IRBuilder, row: Any) -> list[Any]:
        """Addresses that stand for those of the blocks of 16 rows whose heads lie there."""
        return [b.add(row, I64(r * self.size - self.first)) for r in range(ROWS)]
