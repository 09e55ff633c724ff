"""Products of one token where strips.py makes none: by rows, with the bits of tiles.

Sums of whole numbers are exact in any order. Those of the groups of 16 rows go, four rows at a time, into a table that
stays in the first level, and heads of small blocks into another (heads.py); then floats are added in the order in which
tiles add them, a lane a row. On x86 with 16 registers this is as fast as adding floats row by row is (rows.py), and
what is computed for a token does not depend on how many others there are.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import F32, I64, const, load, shuffle, store
from localmix.backends.numba.machine.words import Vector, int64, record, void, word
from localmix.backends.numba.passes.records import COLUMNS, LINE, ROWS
from localmix.backends.numba.products.activations import padded
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import row_order
from localmix.backends.numba.products.heads import Heads
from localmix.backends.numba.products.pace import STREAMS, Pace, ahead_of
from localmix.backends.numba.products.rows import JOB_T, STEP, Row, sums_of_row
from localmix.backends.numba.products.scales import Neighbours
from localmix.backends.numba.products.sums import folded
from localmix.backends.numba.products.units import FLOATS, INTS, Columns, added, starts_at, store_scales, unit_of

EACH = 4  # rows that are read side by side
SUMS = Vector(F32, ROWS)


def _lines(codes: Codes) -> tuple[int, int]:
    """How many of the lines of the next 16 rows are asked for by a step of four rows, and by a block of all rows while
    floats are added: together all of them. Where heads were copied adding takes so little time that it asks for none.
    """
    per = STEP // codes.block
    lines = -(-ROWS * codes.bytes * per // LINE)
    rest = 0 if codes.block == 32 else max(lines // 3 // per // STREAMS, 1) * STREAMS
    each = max(lines - rest * per, 0) * EACH // ROWS
    return -(-each // STREAMS) * STREAMS, rest


def _step(codes: Codes, wide: bool, head: Heads) -> tuple[Any, Any]:
    """The words that put sums of four rows into the table: of a whole step of columns, and of what is left of one."""
    size, per = codes.bytes, STEP // codes.block
    columns = row_order(codes, STEP)
    order = dict.fromkeys(tuple(c // codes.group for c in of_vector) for of_vector in columns)

    def put(
        b: ir.IRBuilder, rows: Sequence[Sequence[Any]], x: Row, table: Any, heads: Any, pace: Pace | None = None
    ) -> None:
        for r, blocks in enumerate(rows):
            head.copy(b, blocks, b.add(heads, I64(r * head.size)), head.bytes)
        found = [sums_of_row(b, codes, wide, blocks, x, pace) for blocks in rows]
        for groups, of_rows in zip(order, zip(*found, strict=True), strict=True):
            sums = folded(b, of_rows)
            for quarter, group in enumerate(groups):
                own = shuffle(b, sums, range(EACH * quarter, EACH * (quarter + 1)))
                store(b, own, table, LINE * group, align=16)

    def starts(b: ir.IRBuilder, p: Any, row_bytes: Any) -> list[Any]:
        return [b.add(p, b.mul(row_bytes, I64(r))) for r in range(EACH)]

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64, int64)
    def step(
        b: ir.IRBuilder,
        p: Any,
        row_bytes: Any,
        x: Any,
        width: Any,
        k: Any,
        table: Any,
        heads: Any,
        ahead: Any,
        apart: Any,
    ) -> None:
        rows = [Neighbours(b.add(row, I64(size * i)) for i in range(per)) for row in starts(b, p, row_bytes)]
        pace = Pace(b, ahead, _lines(codes)[0], EACH * len(columns), apart)
        put(b, rows, Row(x, width, k, STEP), table, heads, pace)

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64)
    def rest(
        b: ir.IRBuilder, p: Any, row_bytes: Any, x: Any, width: Any, k: Any, table: Any, heads: Any, last: Any
    ) -> None:
        """The blocks up to `last` bytes from p: what stands in for the others meets zeros."""
        offsets = [I64(size * i) for i in range(per)]
        offsets = [b.select(b.icmp_signed("<", at, last), at, last) for at in offsets]
        rows = [[b.add(row, at) for at in offsets] for row in starts(b, p, row_bytes)]
        put(b, rows, Row(x, width, k, STEP), table, heads)

    return step, rest


def _finish(codes: Codes, wide: bool, head: Heads, blocks: int) -> Any:
    """The word that adds the products of a block, or of some whose heads were copied, to the sums of 16 rows."""
    unit = replace(unit_of(codes), vectors=0)  # scales and no codes

    @word(SUMS, SUMS, int64, int64, int64, int64, int64, int64, int64, int64, int64)
    def finish(
        b: ir.IRBuilder,
        total: Any,
        p: Any,
        row_bytes: Any,
        x: Any,
        width: Any,
        k: Any,
        table: Any,
        scratch: Any,
        ahead: Any,
        apart: Any,
    ) -> Any:
        columns, groups = Columns(b, [x], width, k), codes.block // codes.group
        pace = Pace(b, ahead, _lines(codes)[1], groups, apart)
        for i in range(blocks):
            own = b.add(p, I64(i * head.bytes))
            heads = [b.add(own, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
            store_scales(b, codes, wide, unit, heads, scratch)
            for group in range(groups):
                pace()
                dots = load(b, INTS, table, LINE * (i * groups + group), align=LINE)
                column = i * codes.block + group * codes.group
                dots = b.add(dots, starts_at(codes, wide, columns, 0, column))
                scales = b.add(scratch, I64(group // unit.groups * unit.bytes + unit.scales(group % unit.groups)))
                total = added(codes, wide, dots, scales, columns, 0, column, total)
        return total

    return finish


def table_product(codes: Codes, wide: bool) -> Any:
    """The function that multiplies one row of activations, of 8 bits or, wide, of 16. job.rows is at least 16."""
    size, block, group = codes.bytes, codes.block, codes.group
    per = STEP // block
    room = COLUMNS // group * LINE  # bytes of the table
    asked, meanwhile = (lines // STREAMS * LINE for lines in _lines(codes))
    head = Heads(codes)
    (step, rest), finish = _step(codes, wide, head), _finish(codes, wide, head, 1)
    copied, first, of_row, of_block = head.copied, head.first, head.size, head.bytes
    scales = 2 * STEP // 16 * LINE  # bytes that a block's take, at most
    at_once = per if copied else 1
    finish_several = _finish(codes, wide, head, at_once)

    @word(SUMS)
    def nothing(b: ir.IRBuilder) -> Any:
        return const(FLOATS, 0.0)

    @word(void, SUMS, int64)
    def put_down(b: ir.IRBuilder, total: Any, y: Any) -> None:
        store(b, total, y, align=4)

    @inner
    def sums(
        p: int, row_bytes: int, x: int, width: int, k: int, count: int, table: int, heads: int, ahead: int, apart: int
    ) -> None:
        """Four rows' sums over `count` columns from k on."""
        full = count // STEP
        for i in range(full):
            at = table + i * STEP // group * LINE
            own = heads + i * per * of_block
            step(p + i * per * size, row_bytes, x, width, k + i * STEP, at, own, ahead + i * asked, apart)
        left = count - full * STEP
        if left > 0:
            last = (left // block - 1) * size
            at, own = table + full * STEP // group * LINE, heads + full * per * of_block
            rest(p + full * per * size, row_bytes, x, width, k + full * STEP, at, own, last)

    @inner
    def strip(w: int, row_bytes: int, columns: int, x: int, y: int, table: int, ahead: int) -> None:
        """y = 16 rows from w on times x. Meanwhile it asks for the rows from `ahead` on."""
        width, total, heads = padded(columns), nothing(), table + room + scales
        for k in range(0, columns, COLUMNS):
            count, start = min(COLUMNS, columns - k), k // block * size
            part, apart = (
                count // STEP * asked,
                count // STEP * asked * ROWS // EACH,
            )  # of a stream: by four rows, by all
            for r in range(0, ROWS, EACH):
                at, own = table + 4 * r, heads + r * of_row
                sums(w + r * row_bytes + start, row_bytes, x, width, k, count, at, own, ahead, apart)
                ahead += part
            ahead += (STREAMS - 1) * apart
            apart = count // block * meanwhile
            several = count // block // at_once * at_once if copied else 0
            for i in range(0, several, at_once):
                groups, at = table + i * block // group * LINE, heads + i * of_block - first
                total = finish_several(total, at, of_row, x, width, k + i * block, groups, table + room, ahead, apart)
            for i in range(several, count // block):
                groups = table + i * block // group * LINE
                at, each = (heads + i * of_block - first, of_row) if copied else (w + start + i * size, row_bytes)
                total = finish(total, at, each, x, width, k + i * block, groups, table + room, ahead, apart)
                ahead += meanwhile
            ahead += (STREAMS - 1) * apart
        put_down(total, y)

    @inner
    def product(job: int) -> None:
        """The last strip may overlap the one before."""
        j = record(job, JOB_T)
        table = (j.scratch + LINE - 1) // LINE * LINE
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            w = j.w + r * j.row_bytes
            strip(w, j.row_bytes, j.width, j.x, j.y + 4 * r, table, ahead_of(j, start))

    return product
