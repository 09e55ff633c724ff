"""Kernels of the float formats: rows of float32, float16 or bfloat16 with activations in float32, any width.

One token, or few, is bound by memory: several rows are read side by side, far apart, and asked for early (rows.py).
Many tokens share rows that are widened and turned once (float_tiles.py).
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba import isa
from localmix.backends.numba.float_tiles import tile_product
from localmix.backends.numba.layout import JOB, ROWS, offset
from localmix.backends.numba.native import native
from localmix.backends.numba.rows import AHEAD
from localmix.backends.numba.simd import (
    F32,
    I64,
    Widen,
    ask,
    const,
    float32,
    fma,
    int64,
    load,
    record,
    store,
    store_f32,
    sum_lanes,
    vec,
    void,
    with_each,
    word,
)

JOB_T = numba.from_dtype(JOB)
FLOATS = vec(F32, 16)
FEW = 8  # tokens, for which turning rows does not pay


def kernels(size: int, widen: Widen) -> tuple[Any, Any, Any]:
    """gemv, gemm and row; `widen(builder, address, lanes)` loads numbers of `size` bytes as float32, 0 lanes: one."""
    streams, most = (4, 4) if isa.active().tokens == 8 else (2, 2)  # rows and tokens whose sums stay in registers
    many = tile_product(size, widen)

    @word(void, int64, int64, int64)
    def two(b: ir.IRBuilder, job: Any, part: Any, r: Any) -> None:
        _multiply(b, size, widen, job, part, r, 2, I64(0), 1)

    @word(void, int64, int64, int64, int64, int64)
    def block(b: ir.IRBuilder, job: Any, part: Any, r: Any, t: Any, tokens: Any) -> None:
        with_each(b, tokens, range(1, most + 1), lambda n: _multiply(b, size, widen, job, part, r, streams, t, n))

    @word(float32, int64)
    def single(b: ir.IRBuilder, w: Any) -> Any:
        return widen(b, w, 0)

    @native(1)
    def gemv(job: int) -> None:
        j = record(job, JOB_T)
        part = (j.rows + 1) // 2
        for r in range(part):
            two(job, part, r)

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        if j.tokens > FEW and j.rows >= ROWS:
            many(job)
            return
        part = (j.rows + streams - 1) // streams
        for r in range(part):
            for t in range(0, j.tokens, most):
                block(job, part, r, t, min(most, j.tokens - t))

    @native(1)
    def row(job: int) -> None:
        j = record(job, JOB_T)
        for k in range(j.width):
            store_f32(j.y + 4 * k, single(j.w + k * size))

    return gemv, gemm, row


def _multiply(
    b: ir.IRBuilder, size: int, widen: Widen, job: Any, part: Any, r: Any, streams: int, first: Any, tokens: int
) -> None:
    """y = rows r, part + r, 2 · part + r, … times some tokens from the first on; what is beyond the last row is it.

    A sum has 16 lanes, whatever the number of rows and tokens, so that results do not depend on it.
    """
    names = ("w", "row_bytes", "rows", "width", "x", "x_stride", "y", "y_stride", "then")
    w, row_bytes, rows, width, x, x_stride, y, y_stride, then = (load(b, I64, job, offset(JOB, n)) for n in names)
    last, part_bytes = b.sub(rows, I64(1)), b.mul(part, row_bytes)
    own = [b.add(r, b.mul(part, I64(s))) for s in range(streams)]
    own = [b.select(b.icmp_signed("<", i, last), i, last) for i in own]
    starts = [b.add(w, b.mul(i, row_bytes)) for i in own]
    inputs = [b.add(x, b.mul(x_stride, b.add(first, I64(t)))) for t in range(tokens)]
    sums = [[cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in inputs] for _ in starts]
    end = b.add(w, part_bytes)  # of the first stream, where what comes next begins
    jump, early = b.sub(then, end), b.add(starts[0], I64(AHEAD))
    whole = b.and_(width, I64(-32))
    with cgutils.for_range_slice(b, I64(0), whole, I64(32)) as (k, _):
        at = b.add(early, b.mul(k, I64(size)))
        at = b.select(b.icmp_signed("<", at, end), at, b.add(at, jump))
        for s in range(streams):
            for line in range(0, 32 * size, 64):
                ask(b, b.add(b.add(at, b.mul(part_bytes, I64(s))), I64(line)), 2)
        for c in (0, 16):
            column = b.add(k, I64(c))
            values = [load(b, FLOATS, b.add(one, b.shl(column, I64(2)))) for one in inputs]
            for start, of_row in zip(starts, sums, strict=True):
                numbers = widen(b, b.add(start, b.mul(column, I64(size))), 16)
                for value, total in zip(values, of_row, strict=True):
                    b.store(fma(b, numbers, value, b.load(total)), total)
    for i, start, of_row in zip(own, starts, sums, strict=True):
        for t, (one, lanes) in enumerate(zip(inputs, of_row, strict=True)):
            total = cgutils.alloca_once_value(b, sum_lanes(b, b.load(lanes)))
            with cgutils.for_range_slice(b, whole, width, I64(1)) as (k, _):
                number, value = (
                    widen(b, b.add(start, b.mul(k, I64(size))), 0),
                    load(b, F32, b.add(one, b.shl(k, I64(2)))),
                )
                b.store(fma(b, number, value, b.load(total)), total)
            target = b.add(b.add(y, b.mul(y_stride, b.add(first, I64(t)))), b.shl(i, I64(2)))
            store(b, b.load(total), target, align=4)
