"""Products for prompts: 16 rows of a weight are unpacked once into a tile that stays in the second-level cache, then
every few tokens go over it in registers.

A tile holds, for each group of 16 or 32 columns: group / 4 vectors of codes (lane r is row r, four columns a lane),
16 scales and 16 minima. The zero point of a symmetric format becomes a minimum, zero · scale.
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba import isa
from localmix.backends.numba.codes import Codes
from localmix.backends.numba.dots import dot4
from localmix.backends.numba.layout import ROWS, group_bytes
from localmix.backends.numba.native import native
from localmix.backends.numba.rows import JOB_T, step_of
from localmix.backends.numba.simd import (
    F32,
    I8,
    I32,
    I64,
    const,
    fma,
    int64,
    load,
    prefetch,
    record,
    splat,
    store,
    transpose,
    vec,
    void,
    word,
)


def _packer(codes: Codes) -> Any:
    n, per, size, group = step_of(codes), step_of(codes) // codes.block, codes.bytes, codes.group
    span, block = group_bytes(group), codes.block

    @word(void, int64, int64, int64, int64, int64)
    def spill(b: ir.IRBuilder, p: Any, q: Any, row: Any, aside: Any, tile: Any) -> None:
        """One step of one row: codes aside, scales and minima to their lane of the tile."""
        c, s, m = codes.emit(b, p, q)
        for i, code in enumerate(c):
            store(b, code, b.add(aside, b.mul(row, I64(n))), 64 * i)
        lane = b.add(tile, b.shl(row, I64(2)))
        minima = b.fmul(s, const(s.type, float(codes.zero))) if m is None else m
        for g in range(n // group):
            store(b, b.extract_element(s, I32(g)), lane, g * span + ROWS * group, align=4)
            store(b, b.extract_element(minima, I32(g)), lane, g * span + ROWS * group + 4 * ROWS, align=4)

    @word(void, int64, int64)
    def turn(b: ir.IRBuilder, aside: Any, tile: Any) -> None:
        for i in range(n // 64):
            rows = [load(b, vec(I32, 16), aside, r * n + 64 * i) for r in range(ROWS)]
            for k, column in enumerate(transpose(b, rows)):
                g, inside = divmod(64 * i + 4 * k, group)
                store(b, column, tile, g * span + inside * ROWS, align=64)

    @numba.njit
    def pack(w: int, row_bytes: int, width: int, aside: int, tile: int) -> None:
        blocks = width // block
        for i in range(0, blocks, per):
            for r in range(ROWS):
                p = w + r * row_bytes + i * size
                prefetch(p + row_bytes * ROWS)
                prefetch(p + row_bytes * ROWS + 64)
                spill(p, p + size if i + 1 < blocks else p, r, aside, tile)
            turn(aside, tile)
            tile += n // group * span

    return pack


def _micro(codes: Codes, tokens: int) -> Any:
    """The word that multiplies a tile with a few tokens; their sums stay in registers."""
    group = codes.group
    span = group_bytes(group)

    @word(void, int64, int64, int64, int64, int64, int64, int64)
    def micro(b: ir.IRBuilder, tile: Any, groups: Any, x: Any, stride: Any, width: Any, y: Any, y_stride: Any) -> None:
        floats, ints = vec(F32, 16), vec(I32, 16)
        sums = [cgutils.alloca_once_value(b, const(floats, 0.0)) for _ in range(tokens)]
        rows = [b.add(x, b.mul(stride, I64(t))) for t in range(tokens)]
        d_start = b.shl(width, I64(1))
        s_start = b.add(d_start, b.lshr(width, I64(3 if group == 32 else 2)))
        with cgutils.for_range(b, groups) as loop:
            at = b.add(tile, b.mul(loop.index, I64(span)))
            k = b.mul(loop.index, I64(group))
            dots = [const(ints, 0)] * tokens
            for i in range(group // 4):
                code = load(b, vec(I8, 64), at, 64 * i, align=64)
                for t in range(tokens):
                    four = load(b, I32, b.add(rows[t], k), 4 * i, align=4)
                    dots[t] = dot4(b, dots[t], code, b.bitcast(splat(b, four, 16), vec(I8, 64)))
            scale = load(b, floats, at, ROWS * group, align=64)
            minimum = load(b, floats, at, ROWS * group + 4 * ROWS, align=64)
            block = b.lshr(k, I64(3))  # four bytes for each 32 columns
            for t in range(tokens):
                d = load(b, F32, b.add(rows[t], b.add(d_start, b.and_(block, I64(-4)))), align=4)
                s = load(b, F32, b.add(rows[t], b.add(s_start, b.mul(loop.index, I64(4)))), align=4)
                value = b.load(sums[t])
                value = fma(b, b.sitofp(dots[t], floats), b.fmul(scale, splat(b, d, 16)), value)
                negative = splat(b, b.fneg(s), 16)
                b.store(fma(b, minimum, negative, value), sums[t])
        for t in range(tokens):
            store(b, b.load(sums[t]), b.add(y, b.mul(y_stride, I64(t))), align=4)

    return micro


def tile_product(codes: Codes) -> Any:
    """The kernel y[t, r] = w[r] · x[t]. job.rows is at least 16; the last tile may overlap the one before."""
    pack, group = _packer(codes), codes.group
    most = isa.active().tokens
    eight, four, two, single = (_micro(codes, min(t, most)) for t in (8, 4, 2, 1))

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        aside = (j.scratch + 63) // 64 * 64
        tile = aside + ROWS * 256
        groups = j.width // group
        padded = (j.width + 63) // 64 * 64
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            pack(j.w + r * j.row_bytes, j.row_bytes, j.width, aside, tile)
            t = 0
            while t < j.tokens:
                x, y = j.x + t * j.x_stride, j.y + t * j.y_stride + 4 * r
                left = j.tokens - t
                if left >= most and most == 8:
                    eight(tile, groups, x, j.x_stride, padded, y, j.y_stride)
                    t += 8
                elif left >= 4:
                    four(tile, groups, x, j.x_stride, padded, y, j.y_stride)
                    t += 4
                elif left >= 2:
                    two(tile, groups, x, j.x_stride, padded, y, j.y_stride)
                    t += 2
                else:
                    single(tile, groups, x, j.x_stride, padded, y, j.y_stride)
                    t += 1

    return gemm
