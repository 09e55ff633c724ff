"""Products of one token where strips.py makes none: by rows, with the bits of tiles.

Sums of whole numbers are exact in any order. Those of the groups of 16 rows go, four rows at a time, into a table that
stays in the first level; then floats are added in the order in which tiles add them, a lane a row. On x86 with 16
registers this is as fast as adding floats row by row is (rows.py), and what is computed for a token does not depend on
how many others there are.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import F32, I64, ask, const, load, shuffle, store
from localmix.backends.numba.machine.words import Vector, int64, record, void, word
from localmix.backends.numba.passes.records import COLUMNS, LINE, ROWS
from localmix.backends.numba.products.activations import padded
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import row_order
from localmix.backends.numba.products.rows import JOB_T, STEP, Row, sums_of_row
from localmix.backends.numba.products.scales import Neighbours
from localmix.backends.numba.products.sums import folded, signed
from localmix.backends.numba.products.units import FLOATS, INTS, Columns, added, store_scales, unit_of, zeros

EACH = 4  # rows that are read side by side
# Of each 16 rows that come next, so many are asked for by each four that are read, and the rest while floats are added:
# memory never waits.
ASKED, REST = 3, 4
SUMS = Vector(F32, ROWS)


def _step(codes: Codes, wide: bool) -> tuple[Any, Any]:
    """The words that put sums of four rows into the table: of a whole step of columns, and of what is left of one."""
    size, per = codes.bytes, STEP // codes.block
    order = dict.fromkeys(tuple(c // codes.group for c in columns) for columns in row_order(codes, STEP))

    def put(b: ir.IRBuilder, rows: Sequence[Sequence[Any]], x: Row, table: Any) -> None:
        found = [sums_of_row(b, codes, wide, blocks, x) for blocks in rows]
        for groups, of_rows in zip(order, zip(*found, strict=True), strict=True):
            sums = folded(b, of_rows)
            for quarter, group in enumerate(groups):
                own = shuffle(b, sums, range(EACH * quarter, EACH * (quarter + 1)))
                store(b, own, table, LINE * group, align=16)

    def starts(b: ir.IRBuilder, p: Any, row_bytes: Any) -> list[Any]:
        return [b.add(p, b.mul(row_bytes, I64(r))) for r in range(EACH)]

    @word(void, int64, int64, int64, int64, int64, int64, int64)
    def step(b: ir.IRBuilder, p: Any, row_bytes: Any, x: Any, width: Any, k: Any, table: Any, ahead: Any) -> None:
        _ask(b, codes, ASKED, ahead, row_bytes)
        rows = [Neighbours(b.add(row, I64(size * i)) for i in range(per)) for row in starts(b, p, row_bytes)]
        put(b, rows, Row(x, width, k, STEP), table)

    @word(void, int64, int64, int64, int64, int64, int64, int64)
    def rest(b: ir.IRBuilder, p: Any, row_bytes: Any, x: Any, width: Any, k: Any, table: Any, last: Any) -> None:
        """The blocks up to `last` bytes from p: what stands in for the others meets zeros."""
        offsets = [I64(size * i) for i in range(per)]
        offsets = [b.select(b.icmp_signed("<", at, last), at, last) for at in offsets]
        rows = [[b.add(row, at) for at in offsets] for row in starts(b, p, row_bytes)]
        put(b, rows, Row(x, width, k, STEP), table)

    return step, rest


def _ask(b: ir.IRBuilder, codes: Codes, rows: int, ahead: Any, row_bytes: Any) -> None:
    """For a step of some rows from `ahead` on."""
    for r in range(rows):
        at = b.add(ahead, b.mul(row_bytes, I64(r)))
        for line in range(0, codes.bytes * STEP // codes.block, LINE):
            ask(b, b.add(at, I64(line)), 2)


def _finish(codes: Codes, wide: bool) -> Any:
    """The word that adds a block's products to the sums of 16 rows."""
    unit = replace(unit_of(codes), vectors=0)  # scales and no codes

    @word(SUMS, SUMS, int64, int64, int64, int64, int64, int64, int64)
    def finish(
        b: ir.IRBuilder, total: Any, p: Any, row_bytes: Any, x: Any, width: Any, k: Any, table: Any, scratch: Any
    ) -> Any:
        store_scales(b, codes, unit, [b.add(p, b.mul(row_bytes, I64(r))) for r in range(ROWS)], scratch)
        columns = Columns(b, [x], width, k)
        for group in range(codes.block // codes.group):
            dots, column = load(b, INTS, table, LINE * group, align=LINE), group * codes.group
            if codes.zero and not signed(codes, wide):
                dots = b.add(dots, zeros(codes, columns, 0, column))
            scales = b.add(scratch, I64(group // unit.groups * unit.bytes + unit.scales(group % unit.groups)))
            total = added(b, codes, dots, scales, columns, 0, column, total)
        return total

    return finish


def table_product(codes: Codes, wide: bool) -> Any:
    """The function that multiplies one row of activations, of 8 bits or, wide, of 16. job.rows is at least 16."""
    size, block, group = codes.bytes, codes.block, codes.group
    per = STEP // block
    room = COLUMNS // group * LINE  # bytes of the table
    (step, rest), finish = _step(codes, wide), _finish(codes, wide)

    @word(SUMS)
    def nothing(b: ir.IRBuilder) -> Any:
        return const(FLOATS, 0.0)

    @word(void, SUMS, int64)
    def put_down(b: ir.IRBuilder, total: Any, y: Any) -> None:
        store(b, total, y, align=4)

    @word(void, int64, int64)
    def ask_rest(b: ir.IRBuilder, ahead: Any, row_bytes: Any) -> None:
        _ask(b, codes, REST, ahead, row_bytes)

    @inner
    def sums(p: int, row_bytes: int, x: int, width: int, k: int, count: int, table: int, ahead: int) -> None:
        """Four rows' sums over `count` columns from k on."""
        full = count // STEP
        for i in range(full):
            at = i * per * size
            step(p + at, row_bytes, x, width, k + i * STEP, table + i * STEP // group * LINE, ahead + at)
        left = count - full * STEP
        if left > 0:
            last = (left // block - 1) * size
            rest(p + full * per * size, row_bytes, x, width, k + full * STEP, table + full * STEP // group * LINE, last)

    @inner
    def strip(w: int, row_bytes: int, columns: int, x: int, y: int, table: int, ahead: int) -> None:
        """y = 16 rows from w on times x. Meanwhile it asks for the rows from `ahead` on."""
        width, total = padded(columns), nothing()
        for k in range(0, columns, COLUMNS):
            count, start = min(COLUMNS, columns - k), k // block * size
            for r in range(0, ROWS, EACH):
                early = ahead + r // EACH * ASKED * row_bytes + start
                sums(w + r * row_bytes + start, row_bytes, x, width, k, count, table + 4 * r, early)
            for i in range(count // block):
                at = start + i * size
                if i % per == 0:
                    ask_rest(ahead + (ROWS - REST) * row_bytes + at, row_bytes)
                groups = table + i * block // group * LINE
                total = finish(total, w + at, row_bytes, x, width, k + i * block, groups, table + room)
        put_down(total, y)

    @inner
    def product(job: int) -> None:
        """The last strip may overlap the one before."""
        j = record(job, JOB_T)
        table = (j.scratch + LINE - 1) // LINE * LINE
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            w = j.w + r * j.row_bytes
            ahead = w + ROWS * j.row_bytes if start + ROWS < j.rows else j.then
            strip(w, j.row_bytes, j.width, j.x, j.y + 4 * r, table, ahead)

    return product
