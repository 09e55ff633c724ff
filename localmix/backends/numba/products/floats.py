"""Kernels of the float formats: rows of float32, float16 or bfloat16 with activations in float32, any width.

A row of activations alone is bound by memory: two rows are read at once, far apart, and asked for early (rows.py).
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import F32, I64, Widen, ask, const, fma, load, store, sum_lanes, vec
from localmix.backends.numba.machine.words import float32, int64, load_i32, record, store_f32, void, word
from localmix.backends.numba.passes.records import JOB, offset
from localmix.backends.numba.products.float_tiles import tile_product
from localmix.backends.numba.products.rows import AHEAD, JOB_T

FLOATS = vec(F32, 16)


def kernels(size: int, widen: Widen) -> tuple[Any, Any, Any]:
    """gemv, gemm and rows; `widen(builder, address, lanes)` loads numbers of `size` bytes as float32, 0 lanes: one."""
    several = tile_product(size, widen)

    @word(void, int64, int64, int64)
    def two(b: ir.IRBuilder, job: Any, part: Any, r: Any) -> None:
        """Rows r and part + r times x; in place of a row that is not there the last comes again."""
        w, row_bytes, rows, width, x, y, then = (
            load(b, I64, job, offset(JOB, name)) for name in ("w", "row_bytes", "rows", "width", "x", "y", "then")
        )
        other, last = b.add(r, part), b.sub(rows, I64(1))
        both = [r, b.select(b.icmp_signed("<", other, last), other, last)]
        starts = [b.add(w, b.mul(i, row_bytes)) for i in both]
        sums = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in both]
        distance = b.mul(part, row_bytes)
        end = b.add(w, distance)  # of the first stream, where what comes next begins
        jump, early = b.sub(then, end), b.add(starts[0], I64(AHEAD))
        whole = b.and_(width, I64(-32))
        with cgutils.for_range_slice(b, I64(0), whole, I64(32)) as (k, _):
            at = b.add(early, b.mul(k, I64(size)))
            at = b.select(b.icmp_signed("<", at, end), at, b.add(at, jump))
            for line in range(0, 32 * size, 64):
                ask(b, b.add(at, I64(line)), 2)
                ask(b, b.add(b.add(at, distance), I64(line)), 2)
            for column in (k, b.add(k, I64(16))):
                value = load(b, FLOATS, b.add(x, b.shl(column, I64(2))))
                for start, total in zip(starts, sums, strict=True):
                    numbers = widen(b, b.add(start, b.mul(column, I64(size))), 16)
                    b.store(fma(b, numbers, value, b.load(total)), total)
        for i, start, lanes in zip(both, starts, sums, strict=True):
            total = cgutils.alloca_once_value(b, sum_lanes(b, b.load(lanes)))
            with cgutils.for_range_slice(b, whole, width, I64(1)) as (k, _):
                number, value = widen(b, b.add(start, b.mul(k, I64(size))), 0), load(b, F32, b.add(x, b.shl(k, I64(2))))
                b.store(fma(b, number, value, b.load(total)), total)
            store(b, b.load(total), b.add(y, b.shl(i, I64(2))), align=4)

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
        several(job)

    @native(1)
    def rows(job: int) -> None:
        j = record(job, JOB_T)
        for t in range(j.tokens):
            w, y = j.w + load_i32(j.x + 4 * t) * j.row_bytes, j.y + t * j.y_stride
            for k in range(j.width):
                store_f32(y + 4 * k, single(w + k * size))

    return gemv, gemm, rows
