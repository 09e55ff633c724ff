"""Products of float formats for prompts: 16 rows are widened and turned once, then every few tokens go over them.

A tile is a vector for each column, lane r being row r, and stays in the second level.
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba import isa
from localmix.backends.numba.compiler import inner
from localmix.backends.numba.layout import JOB, LINE, ROWS, offset
from localmix.backends.numba.simd import (
    F32,
    I32,
    I64,
    Widen,
    ask,
    const,
    fma,
    int64,
    load,
    record,
    splat,
    store,
    turn,
    vec,
    void,
    with_each,
    word,
)

JOB_T = numba.from_dtype(JOB)
FLOATS = vec(F32, 16)
COLUMNS = 1024  # of a tile, at most


def tile_product(size: int, widen: Widen) -> Any:
    """The function that does a job of at least 16 rows; the last tile may overlap the one before."""
    most = isa.active().tokens

    @word(void, int64, int64, int64, int64)
    def pack(b: ir.IRBuilder, w: Any, row_bytes: Any, columns: Any, tile: Any) -> None:
        """Meanwhile it asks for what follows in each row, as much again."""
        rows = [b.add(w, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
        whole, further = b.and_(columns, I64(-16)), b.mul(columns, I64(size))
        with cgutils.for_range_slice(b, I64(0), whole, I64(16)) as (k, _):
            places = [b.add(row, b.mul(k, I64(size))) for row in rows]
            for place in places:
                ask(b, b.add(place, further), 2)
            for i, column in enumerate(turn(b, [widen(b, place, 16) for place in places])):
                store(b, column, b.add(tile, b.mul(k, I64(LINE))), LINE * i, align=LINE)
        with cgutils.for_range_slice(b, whole, columns, I64(1)) as (k, _):
            column = const(FLOATS, 0.0)
            for r, row in enumerate(rows):
                column = b.insert_element(column, widen(b, b.add(row, b.mul(k, I64(size))), 0), I32(r))
            store(b, column, b.add(tile, b.mul(k, I64(LINE))), align=LINE)

    @word(void, int64, int64, int64, int64, int64, int64)
    def multiply(b: ir.IRBuilder, job: Any, tokens: Any, tile: Any, columns: Any, x: Any, y: Any) -> None:
        with_each(b, tokens, range(1, most + 1), lambda n: _multiply(b, n, job, tile, columns, x, y))

    @word(void, int64)
    def clear(b: ir.IRBuilder, y: Any) -> None:
        store(b, const(FLOATS, 0.0), y, align=4)

    @inner
    def product(job: int) -> None:
        j = record(job, JOB_T)
        tile = (j.scratch + 63) // 64 * 64
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            for t in range(j.tokens):
                clear(j.y + t * j.y_stride + 4 * r)
            for k in range(0, j.width, COLUMNS):
                columns = min(COLUMNS, j.width - k)
                pack(j.w + r * j.row_bytes + k * size, j.row_bytes, columns, tile)
                for t in range(0, j.tokens, most):
                    x, y = j.x + t * j.x_stride + 4 * k, j.y + t * j.y_stride + 4 * r
                    multiply(job, min(most, j.tokens - t), tile, columns, x, y)

    return product


def _multiply(b: ir.IRBuilder, tokens: int, job: Any, tile: Any, columns: Any, x: Any, y: Any) -> None:
    """y += the tile times x, for some tokens, whose sums stay in registers."""
    x_stride, y_stride = (load(b, I64, job, offset(JOB, name)) for name in ("x_stride", "y_stride"))
    xs, ys = (
        [b.add(at, b.mul(stride, I64(t))) for t in range(tokens)] for at, stride in ((x, x_stride), (y, y_stride))
    )
    sums = [cgutils.alloca_once_value(b, load(b, FLOATS, at, align=4)) for at in ys]

    def add(k: Any, count: int) -> None:
        for c in range(count):
            column = load(b, FLOATS, b.add(tile, b.mul(k, I64(LINE))), LINE * c, align=LINE)
            for one, total in zip(xs, sums, strict=True):
                value = splat(b, load(b, F32, b.add(one, b.shl(k, I64(2))), 4 * c, align=4), 16)
                b.store(fma(b, column, value, b.load(total)), total)

    whole = b.and_(columns, I64(-4))
    with cgutils.for_range_slice(b, I64(0), whole, I64(4)) as (k, _):
        add(k, 4)
    with cgutils.for_range_slice(b, whole, columns, I64(1)) as (k, _):
        add(k, 1)
    for total, at in zip(sums, ys, strict=True):
        store(b, b.load(total), at, align=4)
