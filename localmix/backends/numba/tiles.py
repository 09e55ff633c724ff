"""Products for prompts: 16 rows of a weight are unpacked once into tiles that stay in a cache, then every few tokens go
over them in registers.

A tile is a sequence of units: vectors of codes (lane r is row r, four columns a lane), and for each group of columns 16
scales and 16 minima, if the format has them. A unit is one group, or all columns of a run of bytes that hold two codes
each (fields.whole_bytes). A zero point costs nothing: sums start at -zero · (sum of x). Nor does the product of a scale
with that of the activations, a power of two: their exponents are added, and whole numbers have units of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba import isa
from localmix.backends.numba.activations import padded, section
from localmix.backends.numba.codes import Codes
from localmix.backends.numba.compiler import inner
from localmix.backends.numba.fields import codes_of_bytes, tile_bytes, tile_codes, whole_bytes
from localmix.backends.numba.layout import COLUMNS, JOB, LINE, ROWS, TINY, offset
from localmix.backends.numba.native import native
from localmix.backends.numba.rows import JOB_T
from localmix.backends.numba.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
    ask,
    call,
    const,
    fma,
    int64,
    load,
    record,
    splat,
    store,
    vec,
    void,
    word,
)
from localmix.backends.numba.sums import begin

# A tile that few tokens read stays in the first level, so that writing it does not wait; one that many read in the
# second, so that their sums are seldom put down and taken up.
FEW, SHORT = 16, 512


def _scales(b: ir.IRBuilder, codes: Codes, rows: list[Any]) -> tuple[list[Any], list[Any]]:
    """For each group of columns of a block: the scales of 16 rows, and their minima or None."""
    if codes.row_scales:
        return codes.row_scales(b, rows)
    s, m = codes.scales(b, rows)
    return [s], [m]


@dataclass(frozen=True)
class Unit:
    """What lies where in a unit of a tile."""

    columns: int
    vectors: int  # of codes
    groups: int

    @property
    def bytes(self) -> int:
        return self.scales(self.groups)

    def scales(self, group: int) -> int:
        return LINE * (self.vectors + 2 * group)

    def minima(self, group: int) -> int:
        return self.scales(group) + LINE


def _unit(codes: Codes) -> Unit:
    if whole_bytes(codes):
        run = codes.parts[0].run
        return Unit(2 * run, run // 4, 2 * run // codes.group)
    return Unit(codes.group, codes.group // 4, 1)


def _packer(codes: Codes) -> Any:
    """The function that unpacks 16 rows into a tile."""
    size, block, unit = codes.bytes, codes.block, _unit(codes)
    parts = block // 32  # of the block, which ask for their part of what comes next
    lines = -(-ROWS * size // (64 * parts))
    in_part = 32 * unit.vectors // unit.columns
    of_block = block // unit.columns * unit.bytes  # of a tile

    @word(void, int64, int64, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, row_bytes: Any, tile: Any, ahead: Any, pace: Any) -> None:
        """One block of each row. Meanwhile it asks for `parts` times `pace` bytes, from `ahead` on."""
        rows = [b.add(p, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
        scales, minima = _scales(b, codes, rows)
        for i, (s, m) in enumerate(zip(scales, minima, strict=True)):
            at, g = i // unit.groups * unit.bytes, i % unit.groups
            store(b, _addable(b, s), tile, at + unit.scales(g), align=LINE)
            if m is not None:
                store(b, m, tile, at + unit.minima(g), align=LINE)
        turned = tile_bytes if whole_bytes(codes) else tile_codes
        for i, (column, vector) in enumerate(turned(b, codes, rows)):
            if i % in_part == 0:
                for line in range(lines):
                    ask(b, b.add(b.add(ahead, b.mul(pace, I64(i // in_part))), I64(64 * line)), 2)
            at = column // unit.columns * unit.bytes
            store(b, vector, tile, at + column % unit.columns // 4 * LINE, align=LINE)

    @inner
    def pack(w: int, row_bytes: int, width: int, tile: int, ahead: int, early: int) -> None:
        """Meanwhile it asks for `early` rows, from `ahead` on."""
        pace = (early * size + parts - 1) // parts
        for i in range(width // block):
            p = w + i * size
            unpack(p, row_bytes, tile, ahead + i * early * size, pace)
            tile += of_block

    return pack


def _addable(b: ir.IRBuilder, scales: Any) -> Any:
    """Scales as whole numbers: added to the bits of a power of two they are the bits of the product. What has no
    exponent, 0, becomes next to nothing.
    """
    least, ints = const(scales.type, TINY), vec(I32, scales.type.count)
    small = b.fcmp_ordered("<", call(b, "llvm.fabs.v16f32", scales.type, scales), least)
    return b.sub(b.bitcast(b.select(small, least, scales), ints), const(ints, 127 << 23))


def _micro(codes: Codes, tokens: int, wide: bool) -> Any:
    """The word that multiplies a tile with a few tokens; their sums stay in registers.

    Meanwhile it asks for its part of the next tile's rows: from `ahead` on, `pace` bytes for each unit.
    """
    group, unit = codes.group, _unit(codes)
    lines = -(-rows_bytes(codes) // 64)

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64, int64)
    def micro(
        b: ir.IRBuilder,
        job: Any,
        tile: Any,
        first: Any,
        units: Any,
        x: Any,
        width: Any,
        y: Any,
        ahead: Any,
        pace: Any,
    ) -> None:
        """y += the tile's units, which are those from `first` on of its rows, times x; y = … if first is 0."""
        floats, ints = vec(F32, 16), vec(I32, 16)
        stride, y_stride = (load(b, I64, job, offset(JOB, name)) for name in ("x_stride", "y_stride"))
        ys = [b.add(y, b.mul(y_stride, I64(t))) for t in range(tokens)]
        fresh, nothing = b.icmp_signed("==", first, I64(0)), const(floats, 0.0)
        sums = [cgutils.alloca_once_value(b, b.select(fresh, nothing, load(b, floats, at, align=4))) for at in ys]
        rows = [b.add(x, b.mul(stride, I64(t))) for t in range(tokens)]
        with cgutils.for_range(b, units) as loop:
            at = b.add(tile, b.mul(loop.index, I64(unit.bytes)))
            k = b.mul(b.add(first, loop.index), I64(unit.columns))
            ks = [b.add(k, I64(group * g)) for g in range(unit.groups)]
            for line in range(lines):
                ask(b, b.add(b.add(ahead, b.mul(loop.index, pace)), I64(64 * line)), 2)
            dots = [[begin(b, codes, wide, _zeros(b, codes, row, width, k), many=True) for row in rows] for k in ks]
            for i in range(unit.vectors):
                vector = load(b, vec(I8, 64), at, LINE * i, align=LINE)
                for column, code in codes_of_bytes(b, codes, vector) if whole_bytes(codes) else [(0, vector)]:
                    g, inside = divmod(4 * i + column, group)
                    for dot, row in zip(dots[g], rows, strict=True):
                        dot.add(code, Four(row, width, ks[g], inside // 4))
            for g, k in enumerate(ks):
                scales = load(b, ints, at, unit.scales(g), align=LINE)
                for t, row in enumerate(rows):
                    d = load(b, I32, section(b, row, width, "scales", b.and_(k, I64(-32))), align=4)
                    scale = b.bitcast(b.add(scales, splat(b, d, 16)), floats)
                    value = fma(b, b.sitofp(dots[g][t].value(), floats), scale, b.load(sums[t]))
                    if not codes.zero:
                        minimum = load(b, floats, at, unit.minima(g), align=LINE)
                        s = load(b, F32, section(b, row, width, f"floats{group}", k), align=4)
                        value = fma(b, minimum, splat(b, b.fneg(s), 16), value)
                    b.store(value, sums[t])
        for total, at in zip(sums, ys, strict=True):
            store(b, b.load(total), at, align=4)

    return micro


def rows_bytes(codes: Codes) -> int:
    """Bytes of one unit's columns in 16 rows of a weight, rounded up."""
    return -(-ROWS * _unit(codes).columns * codes.bytes // codes.block)


def _zeros(b: ir.IRBuilder, codes: Codes, row: Any, width: Any, k: Any) -> Callable[[], Any] | None:
    """What the zero point of a group of codes takes off, in every lane."""
    if not codes.zero:
        return None

    def zeros() -> Any:
        negated = load(b, I32, section(b, row, width, f"sums{codes.group}", k), align=4)
        return b.shl(splat(b, negated, 16), const(vec(I32, 16), codes.zero.bit_length() - 1))

    return zeros


@dataclass(frozen=True)
class Four:
    """Four activations of a row, the i-th four from column k on, for 16 rows of codes."""

    row: Any
    width: Any
    k: Any
    i: int

    def bytes(self, b: ir.IRBuilder, name: str) -> Any:
        return self._everywhere(b, name, 4 * self.i, vec(I8, 64))

    def words(self, b: ir.IRBuilder, odd: int) -> Any:
        return self._everywhere(b, "words", self.i // 4 * 32 + odd * 16 + self.i % 4 * 4, vec(I16, 32))

    def _everywhere(self, b: ir.IRBuilder, name: str, offset: int, kind: Any) -> Any:
        """32 bits of a section, repeated."""
        four = load(b, I32, section(b, self.row, self.width, name, self.k), offset, align=4)
        return b.bitcast(splat(b, four, 16), kind)


def _multiplier(codes: Codes, wide: bool) -> Any:
    """The function that multiplies a tile with all tokens of a job, most of them eight at a time."""
    most, columns = isa.active().tokens, _unit(codes).columns
    eight, four, two, single = (_micro(codes, min(t, most), wide) for t in (8, 4, 2, 1))

    @inner
    def multiply(job: int, r: int, tile: int, first: int, units: int, ahead: int, pace: int) -> None:
        j = record(job, JOB_T)
        width = padded(j.width)
        t = 0
        while t < j.tokens:
            x, y = j.x + t * j.x_stride, j.y + t * j.y_stride + 4 * r
            left = j.tokens - t
            if left >= most and most == 8:
                eight(job, tile, first, units, x, width, y, ahead, pace)
                t += 8
            elif left >= 4:
                four(job, tile, first, units, x, width, y, ahead, pace)
                t += 4
            elif left >= 2:
                two(job, tile, first, units, x, width, y, ahead, pace)
                t += 2
            else:
                single(job, tile, first, units, x, width, y, ahead, pace)
                t += 1
            ahead += j.width // columns * pace

    return multiply


def tile_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[t, r] = w[r] · x[t], activations of 8 bits or, wide, of 16.

    job.rows is at least 16; the last tile may overlap the one before.
    """
    pack, columns, step = _packer(codes), _unit(codes).columns, rows_bytes(codes)
    block, size = codes.block, codes.bytes
    most = isa.active().tokens
    multiply = _multiplier(codes, wide)

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        tile = (j.scratch + 63) // 64 * 64
        # The next tile's rows are asked for all the time: unpacking takes as long as multiplying some four tokens.
        early = 4 * ROWS // (4 + j.tokens)
        calls = (j.tokens + most - 1) // most
        pace = (step * (ROWS - early) // ROWS + calls - 1) // calls
        most_columns = SHORT if j.tokens <= FEW else COLUMNS
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            ahead = j.w + (r + ROWS) * j.row_bytes if start + ROWS < j.rows else j.then
            for k in range(0, j.width, most_columns):
                first, units = k // columns, min(most_columns, j.width - k) // columns
                w = j.w + r * j.row_bytes + k // block * size
                pack(w, j.row_bytes, units * columns, tile, ahead + k // block * early * size, early)
                multiply(job, r, tile, first, units, ahead + early * j.row_bytes + first * pace, pace)

    return gemm
