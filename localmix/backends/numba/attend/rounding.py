"""Queries, keys and values as whole numbers of 13 bits, each row with a scale of its own, for rounded.py."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.attend.stored import Stored
from localmix.backends.numba.machine.simd import (
    F32,
    I16,
    I32,
    I64,
    call,
    const,
    fold,
    inverse_scale,
    larger,
    load,
    power_of_two,
    splat,
    store,
    turn,
    vec,
    whole,
)
from localmix.backends.numba.machine.words import int64, void, word

FLOATS, INTS, WORDS = vec(F32, 16), vec(I32, 16), vec(I16, 32)
BLOCK = 64  # positions whose keys and values lie together
MOST = (1 << 12) - 1  # in magnitude: a head's products (records.ROUNDED) of a query and a key stay below 2^31


@word(void, int64, int64)
def round_query(b: ir.IRBuilder, q: Any, room: Any) -> None:
    """A query (room,) float32 becomes int16 in the first half of its place, its scale behind them."""
    largest = cgutils.alloca_once_value(b, const(FLOATS, 0.0))
    with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
        x = load(b, FLOATS, b.add(q, b.shl(c, I64(2))))
        b.store(larger(b, b.load(largest), _size(b, x)), largest)
    most = call(b, "llvm.vector.reduce.fmax.v16f32", F32, b.load(largest), flags=("nnan",))
    inverse = splat(b, inverse_scale(b, most, float(MOST)), 16)
    with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
        x = load(b, FLOATS, b.add(q, b.shl(c, I64(2))))
        store(b, b.trunc(whole(b, b.fmul(x, inverse)), vec(I16, 16)), b.add(q, b.shl(c, I64(1))))
    store(b, b.fmul(most, const(F32, 1 / MOST)), b.add(q, b.shl(room, I64(1))))


def keys_and_values(kept: Stored) -> tuple[Any, Any]:
    """The words that round 16 rows of keys, and of values."""

    def largest(b: ir.IRBuilder, rows: list[Any], room: Any) -> Any:
        """The largest magnitude in each of 16 rows."""
        found = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in rows]
        with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
            for row, most in zip(rows, found, strict=True):
                b.store(larger(b, b.load(most), _size(b, kept.load16(b, row, c))), most)
        return fold(b, [b.load(most) for most in found], 16, lambda x, y: larger(b, x, y))

    @word(void, int64, int64, int64, int64, int64)
    def round_keys(b: ir.IRBuilder, keys: Any, row_bytes: Any, room: Any, out: Any, scales: Any) -> None:
        """out (room / 2, BLOCK) pairs of int16, of which these are 16 positions, a position a lane; scales (16,)."""
        rows = [b.add(keys, b.mul(row_bytes, I64(r))) for r in range(16)]
        most = largest(b, rows, room)
        inverse = inverse_scale(b, most, float(MOST))
        with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
            words = []
            for r, row in enumerate(rows):
                own = splat(b, b.extract_element(inverse, I32(r)), 16)
                words.append(b.trunc(whole(b, b.fmul(kept.load16(b, row, c), own)), vec(I16, 16)))
            for i, pair in enumerate(turn(b, [b.bitcast(w, vec(I32, 8)) for w in words])):
                store(b, pair, b.add(out, b.mul(c, I64(2 * BLOCK))), 4 * BLOCK * i)
        store(b, b.fmul(most, const(FLOATS, 1 / MOST)), scales)

    @word(void, int64, int64, int64, int64, int64)
    def round_values(b: ir.IRBuilder, values: Any, row_bytes: Any, room: Any, out: Any, scales: Any) -> None:
        """out (room / 16, BLOCK / 2, 16) pairs of int16, of two positions each, of which these are 16; scales
        (2, BLOCK), of which these are 16: logarithms and inverses of the scales, which are powers of two.
        """
        rows = [b.add(values, b.mul(row_bytes, I64(r))) for r in range(16)]
        bits, inverse = power_of_two(b, b.fmul(largest(b, rows, room), const(FLOATS, 1 / MOST)), 2.0**-30)
        exponents = b.sub(b.lshr(bits, const(INTS, 23)), const(INTS, 127))
        store(b, b.fmul(b.sitofp(exponents, FLOATS), const(FLOATS, 0.6931471805599453)), scales)
        store(b, inverse, scales, 4 * BLOCK)
        with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
            for i in range(0, 16, 2):
                own = [splat(b, b.extract_element(inverse, I32(r)), 16) for r in (i, i + 1)]
                two = [whole(b, b.fmul(kept.load16(b, rows[i + j], c), scale)) for j, scale in enumerate(own)]
                pair = b.or_(b.and_(two[0], const(INTS, 0xFFFF)), b.shl(two[1], const(INTS, 16)))
                store(b, pair, b.add(out, b.mul(c, I64(2 * BLOCK))), 32 * i)

    return round_keys, round_values


def _size(b: ir.IRBuilder, x: Any) -> Any:
    return call(b, "llvm.fabs.v16f32", FLOATS, x)
