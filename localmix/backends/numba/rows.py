"""Row products straight from the mapped blocks: one row of activations, the shape of decoding.

Bound by memory: two rows are read at once, each asked for 4 KiB ahead. That doubles what a plain loop reads
(26 against 14 GB/s on the machine where it was measured).
"""

from typing import Any

import numba
from llvmlite import ir

from localmix.backends.numba.activations import section
from localmix.backends.numba.codes import Codes
from localmix.backends.numba.compiler import inner
from localmix.backends.numba.dots import dot4
from localmix.backends.numba.fields import row_codes
from localmix.backends.numba.layout import JOB
from localmix.backends.numba.native import native
from localmix.backends.numba.simd import (
    F32,
    I8,
    I32,
    I64,
    const,
    f32x16,
    fma,
    int64,
    load,
    prefetch,
    record,
    shuffle,
    splat_f32x16,
    store,
    store_f32,
    sum16,
    vec,
    void,
    word,
)

JOB_T = numba.from_dtype(JOB)
AHEAD = 4096  # bytes


def accumulate(codes: Codes, wide: bool) -> Any:
    """The word acc + weights(p, q) · x over one step; x is a quantized row of padded width P, k the column."""
    n, group = codes.step, codes.group

    @word(f32x16, f32x16, int64, int64, int64, int64, int64)
    def step(b: ir.IRBuilder, acc: Any, p: Any, q: Any, x: Any, width: Any, k: Any) -> Any:
        blocks = [p, q] if codes.block == 32 else [p]
        c = row_codes(b, codes, blocks)
        s, m = codes.scales(b, blocks)
        d = load(b, vec(F32, n // 32), section(b, x, width, "scales", k), align=4)
        if group == 16:
            d = shuffle(b, d, [i // 2 for i in range(n // 16)])
        s = b.fmul(s, d)
        for i, code in enumerate(c):
            column = b.add(k, I64(64 * i))
            start = const(vec(I32, 16), 0)
            if codes.zero:
                sums = load(b, vec(I32, 16), section(b, x, width, "sums4", column))
                start = b.shl(sums, const(sums.type, codes.zero.bit_length() - 1))
            if wide:
                high = load(b, vec(I8, 64), section(b, x, width, "values", column))
                dots = dot4(b, const(start.type, 0), code, high, high=codes.zero == 128)
                start = b.add(start, b.shl(dots, const(dots.type, 8)))
            last = load(b, vec(I8, 64), section(b, x, width, "low" if wide else "values", column))
            dots = dot4(b, start, code, last, high=codes.zero == 128)
            lanes = shuffle(b, s, [(64 * i + 4 * lane) // group for lane in range(16)])
            acc = fma(b, b.sitofp(dots, vec(F32, 16)), lanes, acc)
        if m is not None:
            sums = load(b, m.type, section(b, x, width, f"floats{group}", k), align=4)
            minus, zero = b.fmul(m, sums), const(m.type, 0.0)
            acc = b.fsub(acc, shuffle(b, minus, [min(i, m.type.count) for i in range(16)], zero))
        return acc

    return step


def row_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[r] = w[r] · x, activations of 8 bits or, wide, of 16."""
    step, n, size = accumulate(codes, wide), codes.step, codes.bytes
    per, two = n // codes.block, codes.block == 32
    stride, lines = size * per, max(1, size * per // 64)
    odd_step = n // 2

    @inner
    def tail(acc: Any, a: int, x: int, width: int, k: int) -> Any:
        """The last block of a row with an odd number of blocks; its twin meets activations that are zero."""
        return step(acc, a, a, x, width, k)

    @native(1)
    def gemv(job: int) -> None:
        j = record(job, JOB_T)
        width = (j.width + 63) // 64 * 64
        full = j.width // n
        odd = two and j.width % n == odd_step
        half = (j.rows + 1) // 2
        other = (j.rows - half) * j.row_bytes
        for r in range(half):
            a = j.w + r * j.row_bytes
            c = a + other
            sum_a, sum_c = splat_f32x16(0.0), splat_f32x16(0.0)
            for i in range(full):
                for line in range(lines):
                    prefetch(a + AHEAD + 64 * line)
                    prefetch(c + AHEAD + 64 * line)
                sum_a = step(sum_a, a, a + size, j.x, width, i * n)
                sum_c = step(sum_c, c, c + size, j.x, width, i * n)
                a += stride
                c += stride
            if odd:
                sum_a = tail(sum_a, a, j.x, width, full * n)
                sum_c = tail(sum_c, c, j.x, width, full * n)
            store_f32(j.y + 4 * r, sum16(sum_a))
            store_f32(j.y + 4 * (r + j.rows - half), sum16(sum_c))

    return gemv


def unpack_rows(codes: Codes) -> Any:
    """The kernel that turns one row, job.w, into floats at job.y: an embedding."""
    per, size, block = codes.step // codes.block, codes.bytes, codes.block

    @word(void, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, q: Any, y: Any) -> None:
        blocks = [p, q] if codes.block == 32 else [p]
        c = row_codes(b, codes, blocks)
        s, m = codes.scales(b, blocks)
        for i, code in enumerate(c):
            lanes = [(64 * i + j) // codes.group for j in range(64)]
            floats = b.fsub(b.uitofp(code, vec(F32, 64)), const(vec(F32, 64), float(codes.zero)))
            floats = b.fmul(floats, shuffle(b, s, lanes))
            store(b, floats if m is None else b.fsub(floats, shuffle(b, m, lanes)), y, 256 * i, align=4)

    @native(1)
    def row(job: int) -> None:
        """job.y must have room for whole steps: padded(width) floats."""
        j = record(job, JOB_T)
        blocks = j.width // block
        for i in range(0, blocks, per):
            p = j.w + i * size
            unpack(p, p + size if i + 1 < blocks else p, j.y + 4 * block * i)

    return row
