"""Attention of many queries in whole numbers of 13 and 14 bits, for prompts of large networks: two products an
instruction.

Each query, key and value has a scale of its own, so that about as much is lost as by keeping them as float16. The sums
of 16 positions are exact; from there on they are floats.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.attend.stored import Stored
from localmix.backends.numba.machine.dots import dot2
from localmix.backends.numba.machine.simd import (
    F32,
    I16,
    I32,
    I64,
    call,
    const,
    fma,
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
# In magnitude: a head's products (records.ROUNDED) of a query and a key stay below 2^31, and 16 of a weight
# (softmax.MOST_WEIGHT) and a value.
MOST, MOST_VALUE = (1 << 12) - 1, (1 << 13) - 1


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
        """out (room / 2, 16) pairs of int16, a position a lane; scales (16,)."""
        rows = [b.add(keys, b.mul(row_bytes, I64(r))) for r in range(16)]
        most = largest(b, rows, room)
        inverse = inverse_scale(b, most, float(MOST))
        with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
            words = []
            for r, row in enumerate(rows):
                own = splat(b, b.extract_element(inverse, I32(r)), 16)
                words.append(b.trunc(whole(b, b.fmul(kept.load16(b, row, c), own)), vec(I16, 16)))
            for i, pair in enumerate(turn(b, [b.bitcast(w, vec(I32, 8)) for w in words])):
                store(b, pair, b.add(out, b.shl(c, I64(5))), 64 * i)
        store(b, b.fmul(most, const(FLOATS, 1 / MOST)), scales)

    @word(void, int64, int64, int64, int64, int64)
    def round_values(b: ir.IRBuilder, values: Any, row_bytes: Any, room: Any, out: Any, scales: Any) -> None:
        """out (8, room) pairs of int16, of two positions each; scales (2, 16): logarithms and inverses of the scales,
        which are powers of two.
        """
        rows = [b.add(values, b.mul(row_bytes, I64(r))) for r in range(16)]
        bits, inverse = power_of_two(b, b.fmul(largest(b, rows, room), const(FLOATS, 1 / MOST_VALUE)), 2.0**-30)
        exponents = b.sub(b.lshr(bits, const(INTS, 23)), const(INTS, 127))
        store(b, b.fmul(b.sitofp(exponents, FLOATS), const(FLOATS, 0.6931471805599453)), scales)
        store(b, inverse, scales, 64)
        with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
            for i in range(0, 16, 2):
                own = [splat(b, b.extract_element(inverse, I32(r)), 16) for r in (i, i + 1)]
                two = [whole(b, b.fmul(kept.load16(b, rows[i + j], c), scale)) for j, scale in enumerate(own)]
                pair = b.or_(b.and_(two[0], const(INTS, 0xFFFF)), b.shl(two[1], const(INTS, 16)))
                store(b, pair, b.add(out, b.shl(b.add(c, b.mul(room, I64(i // 2))), I64(2))))

    return round_keys, round_values


@word(void, int64, int64, int64, int64, int64)
def score_four(b: ir.IRBuilder, q: Any, room: Any, keys: Any, scales: Any, out: Any) -> None:
    """Scores (4, 16) of four rounded queries, each in the place of `room` floats, with 16 rounded keys.

    scales (2, 16) are those of the keys, and the logarithms of those of the values, which are added.
    """
    sums = [cgutils.alloca_once_value(b, const(INTS, 0)) for _ in range(4)]
    rows = [b.add(q, b.mul(room, I64(4 * i))) for i in range(4)]
    with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
        for i in range(8):
            key = load(b, WORDS, b.add(keys, b.shl(c, I64(5))), 64 * i)
            for row, total in zip(rows, sums, strict=True):
                b.store(dot2(b, b.load(total), key, _pair(b, b.add(row, b.shl(c, I64(1))), 4 * i)), total)
    own, logarithms = load(b, FLOATS, scales), load(b, FLOATS, scales, 64)
    for i, (row, total) in enumerate(zip(rows, sums, strict=True)):
        product = b.fmul(b.sitofp(b.load(total), FLOATS), own)
        scale = splat(b, load(b, F32, b.add(row, b.shl(room, I64(1)))), 16)
        store(b, fma(b, product, scale, logarithms), out, 64 * i)


@word(void, int64, int64, int64, int64)
def mix_four(b: ir.IRBuilder, weights: Any, values: Any, room: Any, o: Any) -> None:
    """o (4, room) = o · keep + scale · weights · values, as softmax.soften_rounded leaves weights, keep and scale."""
    keep, scale = ([splat(b, load(b, F32, weights, at + 4 * i), 16) for i in range(4)] for at in (128, 144))
    with cgutils.for_range_slice(b, I64(0), room, I64(16)) as (c, _):
        pairs = [load(b, WORDS, b.add(values, b.shl(b.add(c, b.mul(room, I64(p))), I64(2)))) for p in range(8)]
        for i in range(4):
            total = const(INTS, 0)
            for p, pair in enumerate(pairs):
                total = dot2(b, total, pair, _pair(b, weights, 32 * i + 4 * p))
            place = b.add(o, b.shl(b.add(c, b.mul(room, I64(i))), I64(2)))
            store(b, fma(b, b.sitofp(total, FLOATS), scale[i], b.fmul(load(b, FLOATS, place), keep[i])), place)


def _pair(b: ir.IRBuilder, address: Any, offset: int) -> Any:
    """Two int16, repeated."""
    return b.bitcast(splat(b, load(b, I32, address, offset, align=4), 16), WORDS)


def _size(b: ir.IRBuilder, x: Any) -> Any:
    return call(b, "llvm.fabs.v16f32", FLOATS, x)
