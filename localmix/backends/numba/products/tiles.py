"""Products for prompts: 16 rows of a weight are unpacked once into tiles that stay in a cache, then every few tokens go
over them in registers.

A tile is a sequence of units (units.py).
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import I8, I64, ask, const, load, store, vec
from localmix.backends.numba.machine.words import int64, record, void, word
from localmix.backends.numba.passes.records import COLUMNS, JOB, LINE, ROWS, offset
from localmix.backends.numba.products.activations import padded
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import tile_bytes, tile_codes, whole_bytes
from localmix.backends.numba.products.rows import JOB_T
from localmix.backends.numba.products.strips import most_tokens, strips_product
from localmix.backends.numba.products.units import FLOATS, Columns, multiply, pairs, store_scales, unit_of

# A tile that few tokens read stays in the first level, so that writing it does not wait; one that many read in the
# second, so that their sums are seldom put down and taken up.
FEW, SHORT = 16, 512


def _packer(codes: Codes) -> Any:
    """The function that unpacks 16 rows into a tile."""
    size, block, unit = codes.bytes, codes.block, unit_of(codes)
    parts = block // 32  # of the block, which ask for their part of what comes next
    lines = -(-ROWS * size // (64 * parts))
    in_part = 32 * unit.vectors // unit.columns
    of_block = block // unit.columns * unit.bytes  # of a tile

    @word(void, int64, int64, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, row_bytes: Any, tile: Any, ahead: Any, pace: Any) -> None:
        """One block of each row. Meanwhile it asks for `parts` times `pace` bytes, from `ahead` on."""
        rows = [b.add(p, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
        store_scales(b, codes, unit, rows, tile)
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


def _micro(codes: Codes, tokens: int, wide: bool) -> Any:
    """The word that multiplies a tile with a few tokens; their sums stay in registers.

    Meanwhile it asks for its part of the next tile's rows: from `ahead` on, `pace` bytes for each unit.
    """
    unit = unit_of(codes)
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
        stride, y_stride = (load(b, I64, job, offset(JOB, name)) for name in ("x_stride", "y_stride"))
        ys = [b.add(y, b.mul(y_stride, I64(t))) for t in range(tokens)]
        fresh, nothing = b.icmp_signed("==", first, I64(0)), const(FLOATS, 0.0)
        sums = [cgutils.alloca_once_value(b, b.select(fresh, nothing, load(b, FLOATS, at, align=4))) for at in ys]
        rows = [b.add(x, b.mul(stride, I64(t))) for t in range(tokens)]
        with cgutils.for_range(b, units) as loop:
            at = b.add(tile, b.mul(loop.index, I64(unit.bytes)))
            for line in range(lines):
                ask(b, b.add(b.add(ahead, b.mul(loop.index, pace)), I64(64 * line)), 2)
            vectors = (load(b, vec(I8, 64), at, LINE * i, align=LINE) for i in range(unit.vectors))
            columns = Columns(b, rows, width, b.mul(b.add(first, loop.index), I64(unit.columns)))
            scales = [(g, b.add(at, I64(unit.scales(g)))) for g in range(unit.groups)]
            multiply(b, codes, wide, pairs(b, codes, vectors), scales, columns, sums)
        for total, at in zip(sums, ys, strict=True):
            store(b, b.load(total), at, align=4)

    return micro


def rows_bytes(codes: Codes) -> int:
    """Bytes of one unit's columns in 16 rows of a weight, rounded up."""
    return -(-ROWS * unit_of(codes).columns * codes.bytes // codes.block)


def _multiplier(codes: Codes, wide: bool) -> Any:
    """The function that multiplies a tile with all tokens of a job, most of them eight at a time."""
    most, columns = isa.active().tokens, unit_of(codes).columns
    eight, four, two, single = (_micro(codes, min(t, most), wide) for t in (8, 4, 2, 1))

    @inner
    def with_all(job: int, r: int, tile: int, first: int, units: int, ahead: int, pace: int) -> None:
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

    return with_all


def tile_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[t, r] = w[r] · x[t], activations of 8 bits or, wide, of 16.

    job.rows is at least 16; the last tile may overlap the one before.
    """
    pack, columns, step = _packer(codes), unit_of(codes).columns, rows_bytes(codes)
    block, size = codes.block, codes.bytes
    most = isa.active().tokens
    with_all = _multiplier(codes, wide)
    few = most_tokens(codes, wide)
    strips = strips_product(codes, wide, few)

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        tile = (j.scratch + 63) // 64 * 64
        if j.tokens <= few:
            strips(job, j.tokens, tile)
            return
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
                with_all(job, r, tile, first, units, ahead + early * j.row_bytes + first * pace, pace)

    return gemm
