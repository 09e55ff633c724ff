"""Row products straight from the mapped blocks: one row of activations, as decoding has, where strips.py makes none.

Bound by memory: two rows are read at once, each asked for 3 KiB ahead, into the second-level cache, and at its end what
the thread will read next. So pieces of 64 KiB are read as fast as the bus is, where a plain loop loses a quarter at
their starts; on machines that do not look ahead themselves it loses half.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
from llvmlite import ir

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
    ask,
    const,
    fma,
    join,
    load,
    shuffle,
    store,
    sum_lanes,
    vec,
)
from localmix.backends.numba.machine.words import Vector, int64, record, void, word
from localmix.backends.numba.passes.records import JOB
from localmix.backends.numba.products.activations import padded, section
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import picked, row_codes, row_order
from localmix.backends.numba.products.scales import Neighbours
from localmix.backends.numba.products.sums import Sum, begin, signed, zero_point

JOB_T = numba.from_dtype(JOB)
AHEAD = 3072  # bytes
STEP = 256  # columns of a row that are multiplied at once


def accumulate(b: ir.IRBuilder, codes: Codes, wide: bool, acc: Any, rows: Sequence[Sequence[Any]], x: "Row") -> Any:
    """acc + the blocks of one step of two rows times the activations of their columns, a lane as `lanes` tells.

    Sums are whole numbers until each lane has one, so that scales are applied once: to 16 sums of groups, not to 64 of
    four columns. A minimum meets the sum of the activations, and a zero point is added to whole sums.
    """
    sums = [[own.value() for own in sums_of_row(b, codes, wide, blocks, x)] for blocks in rows]
    folded = [fold_sums(b, sums[0] + sums[1])] if codes.group == 32 else [fold_sums(b, own) for own in sums]
    total, where = join(b, folded), lanes(codes, codes.block * len(rows[0]))
    if codes.zero and not signed(codes, wide):
        zeros = x.of_groups(b, I32, f"sums{codes.group}", codes.group, where, once=True)
        total = b.add(total, zero_point(b, codes, zeros))
    (s, m), (other_s, other_m) = (codes.scales(b, blocks) for blocks in rows)
    at = [row * s.type.count + group for row, group in where]
    s = b.fmul(shuffle(b, s, at, other_s), x.of_groups(b, F32, "scales", codes.group, where))
    acc = fma(b, b.sitofp(total, s.type), s, acc)
    if m is None:
        return acc
    minus = b.fneg(x.of_groups(b, F32, f"floats{codes.group}", codes.group, where, once=True))
    return fma(b, shuffle(b, m, at, other_m), minus, acc)


def lanes(codes: Codes, n: int) -> list[tuple[int, int]]:
    """The (row, group) of each lane of the sums of a step of n columns in two rows: 16 lanes, or 16 for each row."""
    if codes.group == 32:
        each = n // 128  # lanes next to each other: of two groups, or of two halves of one
        return [(j >> 1 & 1, j // 4 * each + (j & each - 1)) for j in range(16)]
    order = row_order(codes, n)
    return [(row, order[j & 3][j // 4] // codes.group) for row in (0, 1) for j in range(16)]


def sums_of_row(
    b: ir.IRBuilder,
    codes: Codes,
    wide: bool,
    blocks: Sequence[Any],
    x: "Row",
    between: Callable[[], None] | None = None,
) -> list[Sum]:
    """Sums of one row's products, four columns a lane; vectors of the same four groups share one. What `between` emits
    comes after each vector.
    """
    found: dict[tuple[int, ...], Sum] = {}
    order = row_order(codes, codes.block * len(blocks))
    for columns, vector in zip(order, row_codes(b, codes, blocks), strict=True):
        groups = tuple(c // codes.group for c in columns)
        if groups not in found:
            found[groups] = begin(b, codes, wide)
        found[groups].add(vector, Columns(x, columns))
        if between is not None:
            between()
    return list(found.values())


def fold_sums(b: ir.IRBuilder, sums: Sequence[Any]) -> Any:
    """Two or four vectors as one: in each quarter a sum of the first, one of the next, … and from the start again.

    Unlike simd.fold it leaves half of the lanes where they are: one of two shuffles is a blend, which any unit does.
    """
    distance = 4 // len(sums)
    while len(sums) > 1:
        own = [16 * (j & distance > 0) + j for j in range(16)]  # what stays in its lane
        other = [j ^ distance for j in own]
        sums = [
            b.add(shuffle(b, x, own, y), shuffle(b, x, other, y)) for x, y in zip(sums[::2], sums[1::2], strict=True)
        ]
        distance *= 2
    return sums[0]


@dataclass(frozen=True)
class Row:
    """A quantized row of activations of padded width `width`, from column k on, n columns."""

    x: Any
    width: Any
    k: Any
    n: int

    def of_groups(
        self, b: ir.IRBuilder, kind: Any, name: str, group: int, where: Sequence[tuple[int, int]], once: bool = False
    ) -> Any:
        """What a section has for the group of each lane; with `once` it is 0 in a second lane of the same (row, group).

        Scales are stored for 32 columns.
        """
        stored = 32 if name == "scales" else group
        values = load(b, vec(kind, self.n // stored), section(b, self.x, self.width, name, self.k), align=4)
        at = [g * group // stored for _, g in where]
        if once:
            at = [self.n // stored if lane in where[:i] else at[i] for i, lane in enumerate(where)]
        return shuffle(b, values, at, const(values.type, 0))


@dataclass(frozen=True)
class Columns:
    """Activations of a step's four runs of 16 columns."""

    row: Row
    columns: list[int]

    def bytes(self, b: ir.IRBuilder, name: str) -> Any:
        first, x = self.columns[0], self.row
        if self.columns == [first, first + 64, first + 128, first + 192]:
            return load(b, vec(I8, 64), section(b, x.x, x.width, f"turned_{name}", x.k), 4 * first, align=16)
        start = section(b, x.x, x.width, name, x.k)
        whole = range(min(self.columns) // 64, max(self.columns) // 64 + 1)
        loads = [load(b, vec(I8, 64), start, 64 * i) for i in whole]
        return picked(b, loads, [c - 64 * whole[0] for c in self.columns], 16)

    def words(self, b: ir.IRBuilder, odd: int) -> Any:
        start = section(b, self.row.x, self.row.width, "words", self.row.k)
        return join(b, [load(b, vec(I16, 8), start, 2 * c + 16 * odd) for c in self.columns])


def row_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[r] = w[r] · x, activations of 8 bits or, wide, of 16."""
    size, block = codes.bytes, codes.block
    per = STEP // block
    stride = size * per
    lines = (stride + 63) // 64
    rows = [row for row, _ in lanes(codes, STEP)]
    sums = Vector(F32, len(rows))

    @word(void, int64)
    def ask_early(b: ir.IRBuilder, address: Any) -> None:
        ask(b, address, 2)

    @word(sums)
    def nothing(b: ir.IRBuilder) -> Any:
        return const(vec(F32, len(rows)), 0.0)

    @word(sums, sums, int64, int64, int64, int64, int64)
    def step(b: ir.IRBuilder, acc: Any, p: Any, q: Any, x: Any, width: Any, k: Any) -> Any:
        blocks = [Neighbours(b.add(row, I64(size * i)) for i in range(per)) for row in (p, q)]
        return accumulate(b, codes, wide, acc, blocks, Row(x, width, k, STEP))

    @word(sums, sums, int64, int64, int64, int64, int64, int64)
    def short_step(b: ir.IRBuilder, acc: Any, p: Any, q: Any, last: Any, x: Any, width: Any, k: Any) -> Any:
        """Half a step, with the blocks up to `last` bytes from p: what stands in for the others meets zeros."""
        offsets = [I64(size * i) for i in range(max(per // 2, 1))]
        offsets = [b.select(b.icmp_signed("<", at, last), at, last) for at in offsets]
        blocks = [[b.add(row, at) for at in offsets] for row in (p, q)]
        return accumulate(b, codes, wide, acc, blocks, Row(x, width, k, STEP // 2))

    @word(void, sums, int64, int64)
    def finish(b: ir.IRBuilder, acc: Any, y: Any, z: Any) -> None:
        for row, at in enumerate((y, z)):
            own = shuffle(b, acc, [i for i, lane in enumerate(rows) if lane == row])
            store(b, sum_lanes(b, own), at, align=4)

    @inner
    def tail(acc: Any, a: int, c: int, left: int, x: int, width: int, k: int) -> Any:
        return short_step(acc, a, c, (left - 1) * size, x, width, k)

    @native(1)
    def gemv(job: int) -> None:
        j = record(job, JOB_T)
        width = padded(j.width)
        full = j.width // STEP
        half = (j.rows + 1) // 2  # rows of each stream; of an odd number both read the one in the middle
        other = (j.rows - half) * j.row_bytes  # from a row of the first stream to its neighbour in the second
        end = j.w + half * j.row_bytes  # of the first stream, where what comes next begins
        jump = j.then - end  # past the end, what is asked for lies in the next piece of work
        for r in range(half):
            a = j.w + r * j.row_bytes
            c = a + other
            acc = nothing()
            for i in range(full):
                # Each line once: a step moves on by as many lines as it asks for.
                early = a + AHEAD
                early += jump if early >= end else 0
                for line in range(lines):
                    ask_early(early + 64 * line)
                    ask_early(early + other + 64 * line)
                acc = step(acc, a, c, j.x, width, i * STEP)
                a += stride
                c += stride
            if per > 1:  # blocks of 32 (or 128): a width may end within a step
                k = full * STEP
                while k < j.width:
                    acc = tail(acc, a, c, (j.width - k) // block, j.x, width, k)
                    a += stride // 2
                    c += stride // 2
                    k += STEP // 2
            finish(acc, j.y + 4 * r, j.y + 4 * (r + j.rows - half))

    return gemv
