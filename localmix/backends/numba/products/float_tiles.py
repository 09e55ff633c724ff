"""Products of float formats with several tokens: 16 rows are widened and turned, a vector a column, lane r being row r.
For few tokens that is done in registers, for many once, into a tile that stays in the second level.

Each sum adds up column by column either way: what is computed for a token does not depend on how many others there are.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import (
    F32,
    I32,
    I64,
    Widen,
    ask,
    const,
    fma,
    load,
    splat,
    store,
    turn,
    vec,
    with_each,
)
from localmix.backends.numba.machine.words import int64, record, void, word
from localmix.backends.numba.passes.records import JOB, LINE, ROWS, offset
from localmix.backends.numba.products.rows import JOB_T

FLOATS = vec(F32, 16)
COLUMNS = 1024  # of a tile, at most


def tile_product(size: int, widen: Widen) -> Any:
    """The function y[t, r] = w[r] · x[t]; the last 16 rows may overlap those before."""
    most = isa.active().tokens

    @word(void, int64, int64, int64, int64, int64)
    def pack(b: ir.IRBuilder, w: Any, row_bytes: Any, last: Any, columns: Any, tile: Any) -> None:
        """16 rows, of which the `last` is repeated; meanwhile it asks for what follows in each, as much again."""
        rows, further = _rows(b, w, row_bytes, last), b.mul(columns, I64(size))
        with cgutils.for_range_slice(b, I64(0), b.and_(columns, I64(-16)), I64(16)) as (k, _):
            for row in rows:
                ask(b, b.add(b.add(row, further), b.mul(k, I64(size))), 2)
            for i, column in enumerate(_sixteen(b, size, widen, rows, k)):
                store(b, column, b.add(tile, b.mul(k, I64(LINE))), LINE * i, align=LINE)
        with cgutils.for_range_slice(b, b.and_(columns, I64(-16)), columns, I64(1)) as (k, _):
            store(b, _one(b, size, widen, rows, k), b.add(tile, b.mul(k, I64(LINE))), align=LINE)

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64)
    def with_tile(
        b: ir.IRBuilder, job: Any, t: Any, tokens: Any, tile: Any, k: Any, columns: Any, y: Any, last: Any
    ) -> None:
        """y += the tile, which is from column k on, times some tokens, from t on; y = … if k is 0."""

        def multiply(n: int) -> None:
            xs, ys = _tokens(b, job, n, t, k, y)
            # Between two tiles of a row its sums rest in y: adding goes on in the same order.
            fresh = b.icmp_signed("==", k, I64(0))
            old = [b.select(fresh, const(FLOATS, 0.0), load(b, FLOATS, at, align=4)) for at in ys]
            sums = [cgutils.alloca_once_value(b, value) for value in old]
            whole = b.and_(columns, I64(-4))  # four columns in flight hide a load; the rest come one by one
            for start, end, step in ((I64(0), whole, 4), (whole, columns, 1)):
                with cgutils.for_range_slice(b, start, end, I64(step)) as (c, _):
                    at = b.add(tile, b.mul(c, I64(LINE)))
                    _add(b, [load(b, FLOATS, at, LINE * i, align=LINE) for i in range(step)], xs, c, sums)
            for total, at in zip(sums, ys, strict=True):
                _store(b, b.load(total), at, last)

        with_each(b, tokens, range(1, most + 1), multiply)

    @word(void, int64, int64, int64, int64, int64, int64)
    def without_tile(b: ir.IRBuilder, job: Any, tokens: Any, w: Any, last: Any, y: Any, ahead: Any) -> None:
        """y = 16 rows times x. Meanwhile it asks for the rows from `ahead` on."""
        width, row_bytes = (load(b, I64, job, offset(JOB, name)) for name in ("width", "row_bytes"))

        def multiply(n: int) -> None:
            xs, ys = _tokens(b, job, n, I64(0), I64(0), y)
            rows, whole = _rows(b, w, row_bytes, last), b.and_(width, I64(-16))  # columns that turn as squares
            sums = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in ys]
            with cgutils.for_range_slice(b, I64(0), whole, I64(16)) as (k, _):
                # The next 16 rows follow in memory: asked for at the pace at which these are read.
                for line in range(0, 16 * ROWS * size, 64):
                    ask(b, b.add(b.add(ahead, b.mul(k, I64(ROWS * size))), I64(line)), 2)
                _add(b, _sixteen(b, size, widen, rows, k), xs, k, sums)
            with cgutils.for_range_slice(b, whole, width, I64(1)) as (k, _):
                _add(b, [_one(b, size, widen, rows, k)], xs, k, sums)
            for total, at in zip(sums, ys, strict=True):
                _store(b, b.load(total), at, last)

        with_each(b, tokens, range(1, most + 1), multiply)

    @inner
    def product(job: int) -> None:
        j = record(job, JOB_T)
        tile = (j.scratch + 63) // 64 * 64
        for start in range(0, j.rows, ROWS):
            r = max(min(start, j.rows - ROWS), 0)  # the last tile overlaps the one before; fewer rows are one tile
            w, y, last = j.w + r * j.row_bytes, j.y + 4 * r, min(ROWS, j.rows) - 1
            if j.tokens <= most:
                ahead = w + ROWS * j.row_bytes if start + ROWS < j.rows else j.then
                without_tile(job, j.tokens, w, last, y, ahead)
            else:  # a tile for all tokens, part of the width after part, so that it stays in the second level
                for k in range(0, j.width, COLUMNS):
                    columns = min(COLUMNS, j.width - k)
                    pack(w + k * size, j.row_bytes, last, columns, tile)
                    for t in range(0, j.tokens, most):
                        with_tile(job, t, min(most, j.tokens - t), tile, k, columns, y, last)

    return product


def _rows(b: ir.IRBuilder, w: Any, row_bytes: Any, last: Any) -> list[Any]:
    """16 rows from w on; after the last it comes again."""
    within = [b.select(b.icmp_signed("<", I64(r), last), I64(r), last) for r in range(ROWS)]
    return [b.add(w, b.mul(row_bytes, r)) for r in within]


def _sixteen(b: ir.IRBuilder, size: int, widen: Widen, rows: list[Any], k: Any) -> list[Any]:
    """16 columns from k on."""
    return turn(b, [widen(b, b.add(row, b.mul(k, I64(size))), 16) for row in rows])


def _one(b: ir.IRBuilder, size: int, widen: Widen, rows: list[Any], k: Any) -> Any:
    """Column k alone."""
    column = const(FLOATS, 0.0)
    for r, row in enumerate(rows):
        column = b.insert_element(column, widen(b, b.add(row, b.mul(k, I64(size))), 0), I32(r))
    return column


def _tokens(b: ir.IRBuilder, job: Any, n: int, t: Any, k: Any, y: Any) -> tuple[list[Any], list[Any]]:
    """Where the activations of n tokens from t on are, from column k on, and where their results begin."""
    x, x_stride, y_stride = (load(b, I64, job, offset(JOB, name)) for name in ("x", "x_stride", "y_stride"))
    each = [b.add(t, I64(i)) for i in range(n)]
    first = b.add(x, b.shl(k, I64(2)))
    return [b.add(first, b.mul(x_stride, i)) for i in each], [b.add(y, b.mul(y_stride, i)) for i in each]


def _add(b: ir.IRBuilder, columns: list[Any], xs: list[Any], k: Any, sums: list[Any]) -> None:
    """The products of some columns, from k on, with a few tokens, to their sums."""
    for c, column in enumerate(columns):
        for one, total in zip(xs, sums, strict=True):
            value = splat(b, load(b, F32, b.add(one, b.shl(k, I64(2))), 4 * c, align=4), 16)
            b.store(fma(b, column, value, b.load(total)), total)


def _store(b: ir.IRBuilder, value: Any, at: Any, last: Any) -> None:
    """The results of the rows that there are."""
    with b.if_else(b.icmp_signed("==", last, I64(ROWS - 1))) as (whole, part):
        with whole:
            store(b, value, at, align=4)
        with part, cgutils.for_range(b, b.add(last, I64(1))) as loop:
            lane = b.extract_element(value, b.trunc(loop.index, I32))
            store(b, lane, b.add(at, b.shl(loop.index, I64(2))), align=4)
