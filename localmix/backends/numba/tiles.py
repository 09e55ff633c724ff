"""Products for prompts: 16 rows of a weight are unpacked once into tiles that stay in a cache, then every few tokens go
over them in registers.

A tile holds, for each group of 16 or 32 columns: group / 4 vectors of codes (lane r is row r, four columns a lane), 16
scales, and 16 minima if the format has them. A zero point costs nothing: sums start at -zero · (sum of x).
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
from localmix.backends.numba.fields import tile_codes
from localmix.backends.numba.layout import COLUMNS, JOB, ROWS, group_bytes, offset
from localmix.backends.numba.native import native
from localmix.backends.numba.rows import JOB_T
from localmix.backends.numba.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
    ask,
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


def _packer(codes: Codes) -> Any:
    """The function that unpacks 16 rows into a tile."""
    size, group, block = codes.bytes, codes.group, codes.block
    span, parts = group_bytes(group), block // 32  # of the block, which ask for their part of what comes next
    lines = -(-ROWS * size // (64 * parts))

    @word(void, int64, int64, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, row_bytes: Any, tile: Any, ahead: Any, pace: Any) -> None:
        """One block of each row. Meanwhile it asks for `parts` times `pace` bytes, from `ahead` on."""
        rows = [b.add(p, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
        scales, minima = _scales(b, codes, rows)
        for g, (s, m) in enumerate(zip(scales, minima, strict=True)):
            store(b, s, tile, g * span + ROWS * group, align=64)
            if m is not None:
                store(b, m, tile, g * span + ROWS * group + 4 * ROWS, align=64)
        for i, (column, code) in enumerate(tile_codes(b, codes, rows)):
            if i % 8 == 0:
                for line in range(lines):
                    ask(b, b.add(b.add(ahead, b.mul(pace, I64(i // 8))), I64(64 * line)), 2)
            g, inside = divmod(column, group)
            store(b, code, tile, g * span + inside * ROWS, align=64)

    @inner
    def pack(w: int, row_bytes: int, width: int, tile: int, ahead: int, early: int) -> None:
        """Meanwhile it asks for `early` rows, from `ahead` on."""
        pace = (early * size + parts - 1) // parts
        for i in range(width // block):
            p = w + i * size
            unpack(p, row_bytes, tile, ahead + i * early * size, pace)
            tile += block // group * span

    return pack


def _micro(codes: Codes, tokens: int, wide: bool) -> Any:
    """The word that multiplies a tile with a few tokens; their sums stay in registers.

    Meanwhile it asks for its part of the next tile's rows: from `ahead` on, `pace` bytes for each group.
    """
    group = codes.group
    span = group_bytes(group)
    lines = -(-rows_bytes(codes) // 64)

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64, int64)
    def micro(
        b: ir.IRBuilder,
        job: Any,
        tile: Any,
        first: Any,
        groups: Any,
        x: Any,
        width: Any,
        y: Any,
        ahead: Any,
        pace: Any,
    ) -> None:
        """y += the tile's groups, which are those from `first` on of its rows, times x; y = … if first is 0."""
        floats = vec(F32, 16)
        stride, y_stride = (load(b, I64, job, offset(JOB, name)) for name in ("x_stride", "y_stride"))
        ys = [b.add(y, b.mul(y_stride, I64(t))) for t in range(tokens)]
        fresh, nothing = b.icmp_signed("==", first, I64(0)), const(floats, 0.0)
        sums = [cgutils.alloca_once_value(b, b.select(fresh, nothing, load(b, floats, at, align=4))) for at in ys]
        rows = [b.add(x, b.mul(stride, I64(t))) for t in range(tokens)]
        with cgutils.for_range(b, groups) as loop:
            at = b.add(tile, b.mul(loop.index, I64(span)))
            k = b.mul(b.add(first, loop.index), I64(group))
            for line in range(lines):
                ask(b, b.add(b.add(ahead, b.mul(loop.index, pace)), I64(64 * line)), 2)
            starts = [_zeros(b, codes, row, width, k) if codes.zero else None for row in rows]
            dots = [begin(b, codes, wide, start, many=True) for start in starts]
            for i in range(group // 4):
                code = load(b, vec(I8, 64), at, 64 * i, align=64)
                for dot, row in zip(dots, rows, strict=True):
                    dot.add(code, Four(row, width, k, i))
            scale = load(b, floats, at, ROWS * group, align=64)
            for t, row in enumerate(rows):
                d = load(b, F32, section(b, row, width, "scales", b.and_(k, I64(-32))), align=4)
                value = fma(b, b.sitofp(dots[t].value(), floats), b.fmul(scale, splat(b, d, 16)), b.load(sums[t]))
                if not codes.zero:
                    minimum = load(b, floats, at, ROWS * group + 4 * ROWS, align=64)
                    s = load(b, F32, section(b, row, width, f"floats{group}", k), align=4)
                    value = fma(b, minimum, splat(b, b.fneg(s), 16), value)
                b.store(value, sums[t])
        for total, at in zip(sums, ys, strict=True):
            store(b, b.load(total), at, align=4)

    return micro


def rows_bytes(codes: Codes) -> int:
    """Bytes of one group of columns in 16 rows of a weight, rounded up."""
    return -(-ROWS * codes.group * codes.bytes // codes.block)


def _zeros(b: ir.IRBuilder, codes: Codes, row: Any, width: Any, k: Any) -> Callable[[], Any]:
    """What the zero point of a group of codes takes off, in every lane."""

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


def tile_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[t, r] = w[r] · x[t], activations of 8 bits or, wide, of 16.

    job.rows is at least 16; the last tile may overlap the one before.
    """
    pack, group, step = _packer(codes), codes.group, rows_bytes(codes)
    codes_block, size = codes.block, codes.bytes
    most = isa.active().tokens
    eight, four, two, single = (_micro(codes, min(t, most), wide) for t in (8, 4, 2, 1))

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        tile = (j.scratch + 63) // 64 * 64
        width = padded(j.width)
        # The next tile's rows are asked for all the time: unpacking takes as long as multiplying some four tokens.
        early = 4 * ROWS // (4 + j.tokens)
        calls = (j.tokens + most - 1) // most
        columns = SHORT if j.tokens <= FEW else COLUMNS
        pace = (step * (ROWS - early) // ROWS + calls - 1) // calls
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            ahead = j.w + (r + ROWS) * j.row_bytes if start + ROWS < j.rows else j.then
            for k in range(0, j.width, columns):
                block = k // codes_block
                first, groups = k // group, min(columns, j.width - k) // group
                w = j.w + r * j.row_bytes + block * size
                pack(w, j.row_bytes, groups * group, tile, ahead + block * early * size, early)
                later = ahead + early * j.row_bytes + first * pace
                t = 0
                while t < j.tokens:
                    x, y = j.x + t * j.x_stride, j.y + t * j.y_stride + 4 * r
                    left = j.tokens - t
                    if left >= most and most == 8:
                        eight(job, tile, first, groups, x, width, y, later, pace)
                        t += 8
                    elif left >= 4:
                        four(job, tile, first, groups, x, width, y, later, pace)
                        t += 4
                    elif left >= 2:
                        two(job, tile, first, groups, x, width, y, later, pace)
                        t += 2
                    else:
                        single(job, tile, first, groups, x, width, y, later, pace)
                        t += 1
                    later += j.width // group * pace

    return gemm
