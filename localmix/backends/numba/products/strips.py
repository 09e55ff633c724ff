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
from localmix.backends.numba.machine.simd import I64, const, hidden, load, store, with_each
from localmix.backends.numba.machine.words import int64, record, void, word
from localmix.backends.numba.passes.records import JOB, LINE, ROWS, offset
from localmix.backends.numba.products.activations import padded
from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.fields import bytes_of_run, tile_codes, whole_bytes
from localmix.backends.numba.products.heads import Heads
from localmix.backends.numba.products.pace import STREAMS, Pace, ahead_of, paced
from localmix.backends.numba.products.rows import JOB_T
from localmix.backends.numba.products.units import FLOATS, Columns, Unit, multiply, pairs, store_scales, unit_of

SHORT = 12 << 10  # bytes of 16 rows, of which STREAMS parts begin in the same pages of 4 KB
TOGETHER = 4  # blocks of 32


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
            xs = [b.add(x, b.mul(stride, I64(t))) for t in range(count)]
            sums = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in xs]
            length = b.mul(b.udiv(columns, I64(codes.block)), I64(codes.bytes))
            three = hidden(b, b.mul(row_bytes, I64(3)))
            of = _Strip(b, codes, wide, w, length, xs, width, sums, scratch, ahead, row_bytes, three)
            if not whole_bytes(codes):
                _multiply_codes(of)
            else:
                _multiply_bytes(of, _multiply_blocks(of) if codes.block == 32 and count == 1 else I64(0))
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
    start: Any  # of the first row
    length: Any  # of the blocks of a row
    xs: list[Any]  # of the tokens' activations
    width: Any  # padded
    sums: list[Any]
    scratch: Any  # for the scales of a block
    ahead: Any  # the next 16 rows
    row_bytes: Any
    three: Any  # times the bytes of a row

    def rows(self, at: Any) -> list[Any]:
        """Addresses so far from the beginning of each row: four, and what instructions add to them. LLVM is kept from
        making sixteen of them, most of which would be on the stack.
        """
        b = self.b
        apart = (I64(0), self.row_bytes, b.mul(self.row_bytes, I64(2)), self.three)
        first = b.add(self.start, at)
        fours = [hidden(b, b.add(first, b.mul(self.row_bytes, I64(r)))) for r in range(0, ROWS, 4)]
        return [b.add(four, distance) for four in fours for distance in apart]

    @property
    def unit(self) -> Unit:
        """What lies in the scratch: scales and no codes."""
        return replace(unit_of(self.codes), vectors=0)

    def pace(self, start: Any, part: Any, parts: int, turns: int, blocks: int = 1) -> Pace:
        """What asks, for one of the parts of some blocks at `start`, for its share of the next 16 rows.

        Short rows are asked for line after line, long ones as streams. These go into the first level, from where 3 %
        more is read; but for formats of several fields, whose codes take longer to put together: they lose 1 %.
        """
        b, size = self.b, ROWS * blocks * self.codes.bytes // parts
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
        blocks = s.rows(start)
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


def _multiply_blocks(s: _Strip) -> Any:
    """Blocks of 32, a few at a time; gives how far that reaches. Addresses are made once for all of these, and their
    heads are copied a turn before they are wanted: what takes the vector units' time else is half of it.
    """
    b, codes, unit, heads = s.b, s.codes, s.unit, Heads(s.codes)
    size, together = codes.bytes, range(TOGETHER)
    turn = I64(TOGETHER * size)
    end = b.mul(b.udiv(s.length, turn), turn)
    last = b.sub(end, turn)
    table = b.add(s.scratch, I64(TOGETHER * unit.bytes))
    tops = [b.add(table, I64(i * heads.bytes)) for i in together]

    def turned(rows: list[Any], block: int) -> list[Any]:
        return bytes_of_run(b, codes, [b.add(p, I64(block * size)) for p in rows])

    def copy(rows: list[Any], block: int) -> None:
        heads.copy(b, [b.add(p, I64(block * size)) for p in rows], tops[block], heads.size)

    with b.if_then(b.icmp_signed(">", end, I64(0))):
        rows = s.rows(I64(0))
        kept = [cgutils.alloca_once_value(b, vector) for vector in turned(rows, 0)]
        for i in together:
            copy(rows, i)
        with cgutils.for_range_slice(b, I64(0), end, turn) as (start, count):
            rows, following = s.rows(start), b.select(b.icmp_signed("<", start, last), b.add(start, turn), last)
            following_rows = s.rows(following)
            x = Columns(b, s.xs, s.width, b.mul(count, I64(TOGETHER * codes.block)))
            pace = s.pace(start, I64(0), 1, TOGETHER * codes.block // 4, TOGETHER)
            further = [b.load(place) for place in kept]
            for i in together:
                at = b.add(s.scratch, I64(i * unit.bytes))
                store_scales(b, codes, s.wide, unit, heads.blocks(b, tops[i]), at)
                copy(following_rows, i)
                vectors = further
                further = turned(rows, i + 1) if i + 1 < TOGETHER else turned(following_rows, 0)
                found = ((i * codes.block + column, code) for column, code in pairs(b, codes, vectors, (0, 1)))
                multiply(b, codes, s.wide, paced(found, pace), [(i, [b.add(at, I64(unit.scales(0)))])], x, [s.sums])
            for place, vector in zip(kept, further, strict=True):
                b.store(vector, place)
    return end


def _multiply_bytes(s: _Strip, begin: Any) -> None:
    """A unit of bytes of two codes each at a time, from the blocks at `begin` on. They are turned a unit before they
    are multiplied, so that nothing waits for what the second level gives.
    """
    b, codes, unit = s.b, s.codes, s.unit
    size, units = codes.bytes, codes.block // unit.columns
    # Sums of few tokens would wait for each other, those of many must fit into registers beside the turned bytes.
    together = unit.groups == 1 or len(s.sums) < 6
    passes = [(range(unit.groups), (0, 1))] if together else [([half], [half]) for half in (0, 1)]

    def turned(at: Any) -> list[Any]:
        return bytes_of_run(b, codes, s.rows(at))

    last = b.sub(s.length, I64(size))  # block of a row
    first, done = b.select(b.icmp_signed("<", begin, last), begin, last), b.udiv(begin, I64(size))
    kept = [cgutils.alloca_once_value(b, vector) for vector in turned(first)]
    with cgutils.for_range_slice(b, begin, s.length, I64(size)) as (start, count):
        k = b.mul(b.add(done, count), I64(codes.block))
        store_scales(b, codes, s.wide, unit, s.rows(start), s.scratch)
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
