"""Products of up to eight tokens, as decoding several sequences makes them: each code is used so seldom that writing
tiles would take longer than reading them.

Sixteen rows are turned in registers, a run of bytes at a time, and multiplied at once. It is for formats whose bytes
hold two codes each (fields.whole_bytes), and gives what tiles give to the last bit.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.activations import padded
from localmix.backends.numba.codes import Codes
from localmix.backends.numba.compiler import inner
from localmix.backends.numba.fields import bytes_of_run
from localmix.backends.numba.layout import JOB, ROWS, offset
from localmix.backends.numba.rows import JOB_T
from localmix.backends.numba.simd import I64, ask, const, int64, load, record, store, void, with_each, word
from localmix.backends.numba.units import FLOATS, Columns, Unit, multiply, pairs, store_scales, unit_of

MOST = 8  # tokens


def strips_product(codes: Codes) -> Any:
    """The function that does a job of up to eight tokens, activations of 8 bits."""

    @word(void, int64, int64, int64, int64, int64, int64, int64)
    def strip(b: ir.IRBuilder, job: Any, tokens: Any, w: Any, y: Any, width: Any, scratch: Any, ahead: Any) -> None:
        """y = 16 rows from w on times x. Meanwhile it asks for the rows from `ahead` on."""
        with_each(
            b, tokens, range(1, MOST + 1), lambda n: _multiply_strip(b, codes, n, job, w, y, width, scratch, ahead)
        )

    @inner
    def product(job: int, scratch: int) -> None:
        """The last strip may overlap the one before."""
        j = record(job, JOB_T)
        width = padded(j.width)
        for start in range(0, j.rows, ROWS):
            r = min(start, j.rows - ROWS)
            w = j.w + r * j.row_bytes
            ahead = w + ROWS * j.row_bytes if start + ROWS < j.rows else j.then
            strip(job, j.tokens, w, j.y + 4 * r, width, scratch, ahead)

    return product


def _multiply_strip(
    b: ir.IRBuilder, codes: Codes, tokens: int, job: Any, w: Any, y: Any, width: Any, scratch: Any, ahead: Any
) -> None:
    """The same for a number of tokens, whose sums stay in registers."""
    block, size, whole = codes.block, codes.bytes, unit_of(codes)
    unit = Unit(whole.columns, 0, whole.groups)  # in the scratch: no codes are kept
    units = block // unit.columns
    # Sums of few tokens would wait for each other, those of many must fit into registers beside the turned bytes.
    together = unit.groups == 1 or tokens < 6
    passes = [(range(unit.groups), (0, 1))] if together else [([half], [half]) for half in (0, 1)]
    lines = -(-ROWS * size // (64 * units))  # of the next strip's rows, asked for with each unit

    x, stride, y_stride, row_bytes, columns = (
        load(b, I64, job, offset(JOB, name)) for name in ("x", "x_stride", "y_stride", "row_bytes", "width")
    )
    rows = [b.add(w, b.mul(row_bytes, I64(r))) for r in range(ROWS)]
    xs = [b.add(x, b.mul(stride, I64(t))) for t in range(tokens)]
    sums = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in xs]

    def turned(at: Any) -> list[Any]:
        return bytes_of_run(b, codes, [b.add(row, at) for row in rows])

    # Bytes are turned a unit before they are multiplied, so that nothing waits for what the second level gives.
    kept = [cgutils.alloca_once_value(b, vector) for vector in turned(I64(0))]
    last = b.sub(b.mul(b.udiv(columns, I64(block)), I64(size)), I64(size))  # block of a row
    with cgutils.for_range_slice(b, I64(0), b.add(last, I64(size)), I64(size)) as (start, count):
        k, early = b.mul(count, I64(block)), b.add(ahead, b.mul(start, I64(ROWS)))
        store_scales(b, codes, unit, [b.add(row, start) for row in rows], scratch)
        following = b.select(b.icmp_signed("<", start, last), b.add(start, I64(size)), last)
        with cgutils.for_range(b, I64(units)) as inside:
            i = inside.index
            for line in range(lines):
                ask(b, b.add(early, b.add(b.mul(i, I64(64 * lines)), I64(64 * line))), 2)
            vectors = [b.load(place) for place in kept]
            further = b.add(start, b.mul(b.add(i, I64(1)), I64(codes.parts[0].run)))
            further = b.select(b.icmp_signed("==", i, I64(units - 1)), following, further)
            for place, vector in zip(kept, turned(further), strict=True):
                b.store(vector, place)
            own = Columns(b, xs, width, b.add(k, b.mul(i, I64(unit.columns))))
            at = b.add(scratch, b.mul(i, I64(unit.bytes)))
            for groups, halves in passes:
                scales = [(g, b.add(at, I64(unit.scales(g)))) for g in groups]
                multiply(b, codes, False, pairs(b, codes, vectors, halves), scales, own, sums)
    for t, total in enumerate(sums):
        store(b, b.load(total), b.add(y, b.mul(y_stride, I64(t))), align=4)
