"""Products for prompts: parts of 16 rows of a weight are unpacked once into tiles that stay in a cache, then every few
tokens go over them in registers.

A tile is a sequence of units (units.py). It is a few columns wide, so that it stays in the first level, and all rows
are multiplied with these columns before the next ones are: so what is read of many tokens stays in the second.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import I8, I64, const, load, store, vec
from localmix.backends.numba.machine.words import int64, record, void, word
from localmix.backends.numba.passes.records import JOB, LINE, ROWS, offset
from localmix.backends.numba.products.activations import padded
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import tile_codes
from localmix.backends.numba.products.pace import Steps, paced
from localmix.backends.numba.products.rows import JOB_T
from localmix.backends.numba.products.strips import most_tokens, strips_product
from localmix.backends.numba.products.units import FLOATS, Columns, Unit, multiply, store_scales, unit_of_group

PART = 512  # columns of a tile


def _early(tokens: int) -> int:
    """Rows of the next 16 that are asked for while a tile is unpacked, which takes as long as multiplying some four
    tokens; the others are asked for meanwhile.
    """
    return 4 * ROWS // (4 + tokens)


def _packer(codes: Codes, wide: bool, least: int) -> Any:
    """The function that unpacks 16 rows into a tile, which serves `least` tokens or more."""
    size, block, unit = codes.bytes, codes.block, unit_of_group(codes)
    vectors = block // unit.columns * unit.vectors
    asks = min(-(-_early(least) * size // LINE), vectors)
    of_block = block // unit.columns * unit.bytes  # of a tile

    @word(void, int64, int64, int64, int64, int64)
    def unpack(b: ir.IRBuilder, p: Any, row_bytes: Any, tile: Any, ahead: Any, step: Any) -> None:
        """One block of each row. Meanwhile it asks for `asks` times `step` bytes, from `ahead` on."""
        rows = [b.add(p, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
        store_scales(b, codes, wide, unit, rows, tile)
        pace = Steps(b, ahead, step, asks, vectors)
        for column, vector in tile_codes(b, codes, rows):
            pace()
            at = column // unit.columns * unit.bytes
            store(b, vector, tile, at + column % unit.columns // 4 * LINE, align=LINE)

    @inner
    def pack(w: int, row_bytes: int, width: int, tile: int, ahead: int, early: int) -> None:
        """Meanwhile it asks for `early` rows, from `ahead` on."""
        step = (early * size + asks - 1) // asks
        for i in range(width // block):
            p = w + i * size
            unpack(p, row_bytes, tile, ahead + i * early * size, step)
            tile += of_block

    return pack


def _micro(codes: Codes, tokens: int, wide: bool, asks: int) -> Any:
    """The word that multiplies tiles side by side with a few tokens; their sums stay in registers.

    Meanwhile it asks for its part of the next tiles' rows: from `ahead` on, for each unit `asks` times `step` bytes.
    """
    unit, tiles = unit_of_group(codes), range(_side_by_side())

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64, int64, int64)
    def micro(
        b: ir.IRBuilder,
        job: Any,
        tile: Any,
        first: Any,
        units: Any,
        x: Any,
        width: Any,
        y: Any,
        further: Any,
        ahead: Any,
        step: Any,
    ) -> None:
        """y += the tile's units, which are those from `first` on of its rows, times x; y = … if first is 0. Results of
        the next tile are `further` bytes away.
        """
        stride, y_stride = (load(b, I64, job, offset(JOB, name)) for name in ("x_stride", "y_stride"))
        of_tile = [b.add(y, b.mul(further, I64(i))) for i in tiles]
        ys = [[b.add(at, b.mul(y_stride, I64(t))) for t in range(tokens)] for at in of_tile]
        fresh, nothing = b.icmp_signed("==", first, I64(0)), const(FLOATS, 0.0)
        sums = [
            [cgutils.alloca_once_value(b, b.select(fresh, nothing, load(b, FLOATS, at, align=4))) for at in each]
            for each in ys
        ]
        rows = [b.add(x, b.mul(stride, I64(t))) for t in range(tokens)]
        with cgutils.for_range(b, units) as loop:
            own = b.add(tile, b.mul(loop.index, I64(unit.bytes)))
            at = [b.add(own, I64(i * _apart(unit))) for i in tiles]
            pace = Steps(b, b.add(ahead, b.mul(loop.index, b.mul(step, I64(asks)))), step, asks, unit.columns // 4)
            columns = Columns(b, rows, width, b.mul(b.add(first, loop.index), I64(unit.columns)))
            vectors = ([load(b, vec(I8, 64), one, LINE * i, align=LINE) for one in at] for i in range(unit.vectors))
            found = ((4 * i, of_tiles) for i, of_tiles in enumerate(vectors))
            scales = [(0, [b.add(one, I64(unit.scales(0))) for one in at])]
            multiply(b, codes, wide, paced(found, pace), scales, columns, sums)
        for totals, each in zip(sums, ys, strict=True):
            for total, place in zip(totals, each, strict=True):
                store(b, b.load(total), place, align=4)

    return micro


def _side_by_side() -> int:
    """Tiles that are multiplied at once, where there are registers for their sums: what is read of the activations
    serves all.
    """
    return 2 if "avx512f" in isa.active().needs else 1


def _apart(unit: Unit) -> int:
    """Bytes from a tile to the next; a line more than they need, so that these do not meet in the same places of a
    cache.
    """
    return unit.bytes * (PART // unit.columns) + LINE


def _rows_bytes(codes: Codes) -> int:
    """Bytes of one unit's columns in the rows of tiles side by side, rounded up."""
    return -(-_side_by_side() * ROWS * unit_of_group(codes).columns * codes.bytes // codes.block)


def _asks_of(codes: Codes, wide: bool) -> int:
    """How often memory is asked for something while a unit is multiplied: no more often than the fewest tokens need,
    as each time takes time.
    """
    tokens = most_tokens(codes, wide) + 1
    left = _rows_bytes(codes) * (ROWS - _early(tokens)) // ROWS
    return min(-(-left // (-(-tokens // _most(wide)) * LINE)), unit_of_group(codes).columns // 4)


def _most(wide: bool) -> int:
    """Tokens whose sums stay in registers."""
    return 6 if _side_by_side() == 2 and not wide else 4


def _multiplier(codes: Codes, wide: bool) -> Any:
    """The function that multiplies tiles with all tokens of a job, as many of them as `_most` at a time, or four where
    that leaves more than one or two.
    """
    most, asks = _most(wide), _asks_of(codes, wide)
    # Those that strips have are not made for tiles.
    six, four, three, two, single = (_micro(codes, min(t, most), wide, asks) for t in (6, 4, 3, 2, 1))

    @inner
    def with_all(job: int, r: int, tile: int, first: int, units: int, further: int, ahead: int, share: int) -> None:
        """Of the rows from `ahead` on it asks for `share` bytes with each unit of each few tokens."""
        j = record(job, JOB_T)
        width, step = padded(j.width), (share + asks - 1) // asks
        t = 0
        while t < j.tokens:
            x, y = j.x + t * j.x_stride, j.y + t * j.y_stride + 4 * r
            left = j.tokens - t
            if most == 6 and (left == 6 or left > 8):
                six(job, tile, first, units, x, width, y, further, ahead, step)
                t += 6
            elif left >= 4:
                four(job, tile, first, units, x, width, y, further, ahead, step)
                t += 4
            elif most == 6 and left == 3:
                three(job, tile, first, units, x, width, y, further, ahead, step)
                t += 3
            elif left >= 2:
                two(job, tile, first, units, x, width, y, further, ahead, step)
                t += 2
            else:
                single(job, tile, first, units, x, width, y, further, ahead, step)
                t += 1
            ahead += units * share

    return with_all


def tile_product(codes: Codes, wide: bool) -> Any:
    """The kernel y[t, r] = w[r] · x[t], activations of 8 bits or, wide, of 16.

    job.rows is at least 16. Of tiles side by side the last two may be one and the same.
    """
    unit, few = unit_of_group(codes), most_tokens(codes, wide)
    block, size, of_unit, columns = codes.block, codes.bytes, _rows_bytes(codes), unit.columns
    most, tiles, apart = _most(wide), _side_by_side(), _apart(unit)
    pack, with_all, strips = _packer(codes, wide, few + 1), _multiplier(codes, wide), strips_product(codes, wide, few)
    early_of = inner(_early)

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        tile = (j.scratch + LINE - 1) // LINE * LINE
        if j.tokens <= few:
            strips(job, j.tokens, tile)
            return
        early = early_of(j.tokens)
        calls = (j.tokens + most - 1) // most
        share = (of_unit * (ROWS - early) // ROWS + calls - 1) // calls
        ahead = j.then
        begin, end = 0, j.rows // ROWS * ROWS
        while begin < end:
            for k in range(0, j.width, PART):
                first, units = k // columns, min(PART, j.width - k) // columns
                row = units * columns // block * size
                for r in range(begin, end, tiles * ROWS):
                    second = min(r + ROWS, end - ROWS)
                    w = j.w + r * j.row_bytes + k // block * size
                    pack(w, j.row_bytes, units * columns, tile, ahead, early)
                    if tiles == 2:
                        w += (second - r) * j.row_bytes
                        pack(w, j.row_bytes, units * columns, tile + apart, ahead + early * row, early)
                    with_all(job, r, tile, first, units, 4 * (second - r), ahead + tiles * early * row, share)
                    ahead += tiles * ROWS * row
            # Rows that are left make a tile with some before them, whose sums begin anew.
            begin, end = (j.rows - ROWS, j.rows) if end < j.rows else (j.rows, j.rows)

    return gemm
