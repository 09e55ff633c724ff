"""Row products straight from the mapped blocks: one row of activations, the shape of decoding.

Bound by memory: two rows are read at once, each asked for 4 KiB ahead. That doubles what a plain loop reads
(26 against 14 GB/s on the machine where it was measured).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
from llvmlite import ir

from localmix.backends.numba.activations import section
from localmix.backends.numba.codes import Codes
from localmix.backends.numba.compiler import inner
from localmix.backends.numba.fields import Neighbours, picked, row_codes, row_order
from localmix.backends.numba.layout import JOB
from localmix.backends.numba.native import native
from localmix.backends.numba.simd import (
    F32,
    I8,
    I16,
    I64,
    const,
    f32x16,
    fma,
    int64,
    join,
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
from localmix.backends.numba.sums import begin, signed

JOB_T = numba.from_dtype(JOB)
AHEAD = 4096  # bytes


def accumulate(b: ir.IRBuilder, codes: Codes, wide: bool, acc: Any, blocks: Sequence[Any], row: "Row") -> Any:
    """acc + the blocks of one step times the activations of their columns.

    A zero point is a minimum, zero · scale: one product for all columns that share a scale.
    """
    n, group = codes.step, codes.group
    s, m = codes.scales(b, blocks)
    if codes.zero and not signed(codes, wide):
        m = b.fmul(s, const(s.type, float(codes.zero)))
    s = b.fmul(s, row.floats(b, "scales", n, group))
    vectors = row_codes(b, codes, blocks)
    for groups, chain in chains(codes).items():
        lanes = [g for g in groups for _ in range(4)]
        dots = begin(b, codes, wide)
        for i, columns in chain:
            dots.add(vectors[i], Columns(row, columns))
        acc = fma(b, b.sitofp(dots.value(), vec(F32, 16)), shuffle(b, s, lanes), acc)
    if m is not None:
        minus, zero = b.fmul(m, row.floats(b, f"floats{group}", n, group)), const(m.type, 0.0)
        acc = b.fsub(acc, shuffle(b, minus, [min(i, m.type.count) for i in range(16)], zero))
    return acc


def chains(codes: Codes) -> dict[tuple[int, ...], list[tuple[int, list[int]]]]:
    """Vectors of a step (number, columns) by the groups of their quarters: those of the same groups share a sum."""
    found: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for i, columns in enumerate(row_order(codes)):
        found.setdefault(tuple(c // codes.group for c in columns), []).append((i, columns))
    return found


@dataclass(frozen=True)
class Row:
    """One step of a quantized row of activations of padded width `width`, from column k on."""

    x: Any
    width: Any
    k: Any

    def floats(self, b: ir.IRBuilder, name: str, n: int, group: int) -> Any:
        """One float for each group of n columns; scales are stored for 32."""
        stored = 32 if name == "scales" else group
        value = load(b, vec(F32, n // stored), section(b, self.x, self.width, name, self.k), align=4)
        return value if stored == group else shuffle(b, value, [i * group // stored for i in range(n // group)])


@dataclass(frozen=True)
class Columns:
    """Activations of a step's four runs of 16 columns."""

    row: Row
    columns: list[int]

    def bytes(self, b: ir.IRBuilder, name: str) -> Any:
        start = section(b, self.row.x, self.row.width, name, self.row.k)
        whole = range(min(self.columns) // 64, max(self.columns) // 64 + 1)
        loads = [load(b, vec(I8, 64), start, 64 * i) for i in whole]
        return picked(b, loads, [c - 64 * whole[0] for c in self.columns], 16)

    def words(self, b: ir.IRBuilder, odd: int) -> Any:
        start = section(b, self.row.x, self.row.width, "words", self.row.k)
        return join(b, [load(b, vec(I16, 8), start, 2 * c + 16 * odd) for c in self.columns])


def row_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[r] = w[r] · x, activations of 8 bits or, wide, of 16."""
    n, size = codes.step, codes.bytes
    block, per = codes.block, n // codes.block
    stride = size * per
    lines = (stride + 63) // 64

    @word(f32x16, f32x16, int64, int64, int64, int64)
    def step(b: ir.IRBuilder, acc: Any, p: Any, x: Any, width: Any, k: Any) -> Any:
        blocks = Neighbours(b.add(p, I64(size * i)) for i in range(per))
        return accumulate(b, codes, wide, acc, blocks, Row(x, width, k))

    @word(f32x16, f32x16, int64, int64, int64, int64, int64)
    def last_step(b: ir.IRBuilder, acc: Any, p: Any, last: Any, x: Any, width: Any, k: Any) -> Any:
        """With the blocks up to `last` alone: what stands in for the others meets activations that are zero."""
        blocks = [p]
        for i in range(1, per):
            at = b.add(p, I64(size * i))
            blocks.append(b.select(b.icmp_signed("<", at, last), at, last))
        return accumulate(b, codes, wide, acc, blocks, Row(x, width, k))

    @inner
    def tail(acc: Any, a: int, left: int, x: int, width: int, k: int) -> Any:
        return last_step(acc, a, a + (left - 1) * size, x, width, k)

    @native(1)
    def gemv(job: int) -> None:
        j = record(job, JOB_T)
        width = (j.width + 127) // 128 * 128
        full = j.width // n
        left = (j.width - full * n) // block
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
                sum_a = step(sum_a, a, j.x, width, i * n)
                sum_c = step(sum_c, c, j.x, width, i * n)
                a += stride
                c += stride
            if per > 1 and left:
                sum_a = tail(sum_a, a, left, j.x, width, full * n)
                sum_c = tail(sum_c, c, left, j.x, width, full * n)
            store_f32(j.y + 4 * r, sum16(sum_a))
            store_f32(j.y + 4 * (r + j.rows - half), sum16(sum_c))

    return gemv


def unpack_rows(codes: Codes) -> Any:
    """The kernel that turns one row, job.w, into floats at job.y: an embedding."""
    per, size, block = codes.step // codes.block, codes.bytes, codes.block

    order = [c for columns in row_order(codes) for c in columns]

    @word(void, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, last: Any, y: Any) -> None:
        """One step; beyond the last block whatever may come."""
        blocks = [p]
        for i in range(1, per):
            at = b.add(p, I64(size * i))
            blocks.append(b.select(b.icmp_signed("<", at, last), at, last))
        stored = row_codes(b, codes, blocks)
        s, m = codes.scales(b, blocks)
        for i in range(len(stored)):
            code = picked(b, stored, [16 * order.index(64 * i + 16 * q) for q in range(4)], 16)
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
            unpack(j.w + i * size, j.w + (blocks - 1) * size, j.y + 4 * block * i)

    return row
