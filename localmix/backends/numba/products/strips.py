"""Products of few tokens, as decoding makes them: each code is used so seldom that writing tiles would take longer than
reading the rows.

Sixteen rows are turned in registers, a block at a time, and multiplied at once, as from a tile: both give the same to
the last bit, so that what is computed for a token does not depend on how many others there are. It takes 32 registers.
"""

from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import I64, const, load, store, with_each
from localmix.backends.numba.machine.words import int64, record, void, word
from localmix.backends.numba.passes.records import JOB, LINE, ROWS, offset
from localmix.backends.numba.products.activations import padded
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import bytes_of_run, tile_codes, whole_bytes
from localmix.backends.numba.products.pace import STREAMS, Pace, ahead_of, paced
from localmix.backends.numba.products.rows import JOB_T
from localmix.backends.numba.products.units import FLOATS, Columns, Unit, multiply, pairs, store_scales, unit_of

SHORT = 12 << 10  # bytes of 16 rows, of which STREAMS parts begin in the same pages of 4 KB


def most_tokens(codes: Codes, wide: bool) -> int:
    """Tokens of a job that are multiplied so, at most; one with 16 bits, which spares the compiler seconds."""
    if "avx512f" not in isa.active().needs:
        return 0
    if wide:
        return 1
    return 8 if whole_bytes(codes) else 4


def strips_product(codes: Codes, wide: bool, most: int) -> Any:
    """The function that does a job of some tokens, at most `most`, activations of 8 bits or, wide, of 16."""

    @word(void, int64, int64, int64, int64, int64, int64, int64)
    def strip(b: ir.IRBuilder, job: Any, tokens: Any, w: Any, y: Any, width: Any, scratch: Any, ahead: Any) -> None:
        """y = 16 rows from w on times x. Meanwhile it asks for the rows from `ahead` on."""

        def multiplied(count: int) -> None:
            x, stride, y_stride, row_bytes, columns = (
                load(b, I64, job, offset(JOB, name)) for name in ("x", "x_stride", "y_stride", "row_bytes", "width")
            )
            rows = [b.add(w, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
            xs = [b.add(x, b.mul(stride, I64(t))) for t in range(count)]
            sums = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in xs]
            length = b.mul(b.udiv(columns, I64(codes.block)), I64(codes.bytes))
            of = _Strip(b, codes, wide, rows, length, xs, width, sums, scratch, ahead, row_bytes)
            (_multiply_bytes if whole_bytes(codes) else _multiply_codes)(of)
            for t, total in enumerate(sums):
                store(b, b.load(total), b.add(y, b.mul(y_stride, I64(t))), align=4)

        with_each(b, tokens, range(1, most + 1), multiplied)

    @inner
    def product(job: int, tokens: int, scratch: int) -> None:
        """The last strip may overlap the one before."""
        j = record(job, JOB_T)
        width = padded(j.width)
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            w = j.w + r * j.row_bytes
            strip(job, tokens, w, j.y + 4 * r, width, scratch, ahead_of(j, start))

    return product


@dataclass(frozen=True)
class _Strip:
    """What is multiplied: addresses, sizes in bytes, and the variables of the sums, a lane a row."""

    b: ir.IRBuilder
    codes: Codes
    wide: bool
    rows: list[Any]
    length: Any  # of the blocks of a row
    xs: list[Any]  # of the tokens' activations
    width: Any  # padded
    sums: list[Any]
    scratch: Any  # for the scales of a block
    ahead: Any  # the next 16 rows
    row_bytes: Any

    @property
    def unit(self) -> Unit:
        """What lies in the scratch: scales and no codes."""
        return replace(unit_of(self.codes), vectors=0)

    def pace(self, start: Any, part: Any, parts: int, turns: int) -> Pace:
        """What asks, for one of the parts of the blocks at `start`, for its share of the next 16 rows.

        Short rows are asked for line after line, long ones as streams. These go into the first level, from where 3 %
        more is read; but for formats of several fields, whose codes take longer to put together: they lose 1 %.
        """
        b, size = self.b, ROWS * self.codes.bytes // parts
        rows = b.mul(self.row_bytes, I64(ROWS))
        long = b.icmp_signed(">=", rows, I64(SHORT))
        done = b.add(b.mul(start, I64(ROWS)), b.mul(part, I64(size)))
        at = b.select(long, b.udiv(done, I64(STREAMS)), done)
        apart = b.select(long, b.udiv(rows, I64(STREAMS)), I64(LINE))
        along = b.select(long, I64(LINE), I64(STREAMS * LINE))
        lines = STREAMS * -(-size // STREAMS // LINE)
        near = long if len(self.codes.parts) == 1 else None
        return Pace(b, b.add(self.ahead, at), lines, turns, apart, along, near)


def _multiply_codes(s: _Strip) -> None:
    """A block at a time, whose codes come group by group."""
    b, codes, unit = s.b, s.codes, s.unit
    with cgutils.for_range_slice(b, I64(0), s.length, I64(codes.bytes)) as (start, count):
        blocks = [b.add(row, start) for row in s.rows]
        store_scales(b, codes, s.wide, unit, blocks, s.scratch)
        x, group = Columns(b, s.xs, s.width, b.mul(count, I64(codes.block))), []
        pace = s.pace(start, I64(0), 1, codes.block // 4)
        for column, code in tile_codes(b, codes, blocks):
            pace()
            group.append((column, [code]))
            if len(group) == codes.group // 4:
                g = column // codes.group
                multiply(b, codes, s.wide, group, [(g, [b.add(s.scratch, I64(g * unit.bytes))])], x, [s.sums])
                group = []


def _multiply_bytes(s: _Strip) -> None:
    """A unit of bytes of two codes each at a time; they are turned a unit before they are multiplied, so that nothing
    waits for what the second level gives.
    """
    b, codes, unit = s.b, s.codes, s.unit
    size, units = codes.bytes, codes.block // unit.columns
    # Sums of few tokens would wait for each other, those of many must fit into registers beside the turned bytes.
    together = unit.groups == 1 or len(s.sums) < 6
    passes = [(range(unit.groups), (0, 1))] if together else [([half], [half]) for half in (0, 1)]

    def turned(at: Any) -> list[Any]:
        return bytes_of_run(b, codes, [b.add(row, at) for row in s.rows])

    kept = [cgutils.alloca_once_value(b, vector) for vector in turned(I64(0))]
    last = b.sub(s.length, I64(size))  # block of a row
    with cgutils.for_range_slice(b, I64(0), s.length, I64(size)) as (start, count):
        k = b.mul(count, I64(codes.block))
        store_scales(b, codes, s.wide, unit, [b.add(row, start) for row in s.rows], s.scratch)
        following = b.select(b.icmp_signed("<", start, last), b.add(start, I64(size)), last)
        with cgutils.for_range(b, I64(units)) as inside:
            i = inside.index
            pace = s.pace(start, i, units, 2 * codes.parts[0].run // 4)
            vectors = [b.load(place) for place in kept]
            further = b.add(start, b.mul(b.add(i, I64(1)), I64(codes.parts[0].run)))
            further = b.select(b.icmp_signed("==", i, I64(units - 1)), following, further)
            for place, vector in zip(kept, turned(further), strict=True):
                b.store(vector, place)
            x = Columns(b, s.xs, s.width, b.add(k, b.mul(i, I64(unit.columns))))
            at = b.add(s.scratch, b.mul(i, I64(unit.bytes)))
            for groups, halves in passes:
                scales = [(g, [b.add(at, I64(unit.scales(g)))]) for g in groups]
                found = paced(pairs(b, codes, vectors, halves), pace)
                multiply(b, codes, s.wide, found, scales, x, [s.sums])
