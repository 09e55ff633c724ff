"""Attention of four queries with a block of 64 positions in whole numbers, for prompts of large networks: two products
an instruction, and so many sums at a time that none waits for itself.

Each query, key and value has a scale of its own (rounding.py), so that about as much is lost as by keeping them as
float16. Sums over a head, and those of weighted values over a block, are exact; from there on they are floats.
What a block of queries shares lies in `scratch`, at the offsets below.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.attend.rounding import BLOCK, FLOATS, INTS, WORDS
from localmix.backends.numba.attend.softmax import FOUR, LEAST, each
from localmix.backends.numba.machine.dots import dot2
from localmix.backends.numba.machine.simd import (
    F32,
    I16,
    I32,
    I64,
    const,
    exp_vector,
    fma,
    larger,
    load,
    shuffle,
    splat,
    store,
    vec,
)
from localmix.backends.numba.machine.words import int64, void, word

GROUPS = range(BLOCK // 16)
# Where in `scratch`: (4, BLOCK) float32 scores; (4, BLOCK) int16 weights; (4,) what sums keep, (4,) what a weight of 1
# stands for; of keys (BLOCK,) scales; of values (2, BLOCK) logarithms and inverses of scales; rounded keys and values.
WEIGHTS = 4 * 4 * BLOCK
KEEP = WEIGHTS + 4 * 2 * BLOCK
SHARE = KEEP + 16
SCALES = KEEP + 64
LOGARITHMS = SCALES + 4 * BLOCK
INVERSES = LOGARITHMS + 4 * BLOCK
ROUNDED = INVERSES + 4 * BLOCK
TOGETHER = 4  # vectors of values whose sums stay in registers
MOST_WEIGHT = 1 << 13  # the largest weight: a block's products with values (rounding.MOST) stay below 2^31
NOTHING_SEEN = LEAST / 10  # far above UNSEEN, below any score
LOG2E = 1.4426950408889634
WHOLE = 1.5 * 2**23  # added to a small float it leaves the nearest whole number in the low bits
# 2^x for x from -1/2 to 1/2, within 3e-6 of itself, which is less than rounding weights loses.
POWERS = (0.00958285201340914, 0.055906426161527634, 0.24024099111557007, 0.6931241750717163, 1.0)


@word(void, int64, int64, int64)
def score_four(b: ir.IRBuilder, q: Any, room: Any, scratch: Any) -> None:
    """The scores of four rounded queries, each in the place of `room` floats, with a block of rounded keys; and the
    logarithms of the values' scales, which are added.
    """
    sums = [[cgutils.alloca_once_value(b, const(INTS, 0)) for _ in GROUPS] for _ in range(4)]
    rows = [b.add(q, b.mul(room, I64(4 * i))) for i in range(4)]
    with cgutils.for_range_slice(b, I64(0), room, I64(8)) as (c, _):
        keys = b.add(scratch, b.mul(c, I64(2 * BLOCK)))
        for pair in range(4):
            own = [load(b, WORDS, keys, ROUNDED + 4 * BLOCK * pair + 64 * g) for g in GROUPS]
            for row, totals in zip(rows, sums, strict=True):
                query = _pair(b, b.add(row, b.shl(c, I64(1))), 4 * pair)
                for key, total in zip(own, totals, strict=True):
                    b.store(dot2(b, b.load(total), key, query), total)
    scales = [splat(b, load(b, F32, b.add(row, b.shl(room, I64(1)))), 16) for row in rows]
    for g in GROUPS:
        of_keys, logarithms = (load(b, FLOATS, scratch, at + 64 * g) for at in (SCALES, LOGARITHMS))
        for i, scale in enumerate(scales):
            product = b.fmul(b.sitofp(b.load(sums[i][g]), FLOATS), of_keys)
            store(b, fma(b, product, scale, logarithms), scratch, 4 * BLOCK * i + 64 * g)


@word(void, int64, int64, int64)
def soften_four(b: ir.IRBuilder, scratch: Any, m: Any, l: Any) -> None:  # noqa: E741
    """Scores become weights, as softmax.soften has it, of int16: fractions of the block's largest, whatever that is.

    As scores include the logarithms of the scales of values, weights are as exact as they count. m and l are in these
    terms too, so that l is in proportion to what is mixed.
    """
    scores = [[load(b, FLOATS, scratch, 4 * BLOCK * i + 64 * g) for g in GROUPS] for i in range(4)]
    most = each(b, [_largest(b, own) for own in scores], lambda x, y: larger(b, x, y))
    old, block = load(b, FOUR, m), larger(b, most, const(FOUR, NOTHING_SEEN))
    new = larger(b, old, block)
    both = exp_vector(b, shuffle(b, b.fsub(old, new), range(8), b.fsub(block, new)))
    keep, share = shuffle(b, both, range(4)), shuffle(b, both, range(4, 8))
    start = b.fmul(block, const(FOUR, -LOG2E))
    inverses = [load(b, FLOATS, scratch, INVERSES + 64 * g) for g in GROUPS]
    totals = []
    for i, own in enumerate(scores):
        total, below = const(FLOATS, 0.0), shuffle(b, start, [i] * 16)
        for g, score in enumerate(own):
            weight = _power(b, fma(b, score, const(FLOATS, LOG2E), below))
            total = fma(b, weight, inverses[g], total)
            number = b.bitcast(fma(b, weight, const(FLOATS, float(MOST_WEIGHT)), const(FLOATS, WHOLE)), INTS)
            store(b, b.trunc(number, vec(I16, 16)), scratch, WEIGHTS + 2 * BLOCK * i + 32 * g)
        totals.append(total)
    store(b, keep, scratch, KEEP)
    store(b, b.fmul(share, const(FOUR, 1 / MOST_WEIGHT)), scratch, SHARE)
    store(b, new, m)
    store(b, fma(b, load(b, FOUR, l), keep, b.fmul(share, each(b, totals, b.fadd))), l)


@word(void, int64, int64, int64, int64)
def mix_four(b: ir.IRBuilder, scratch: Any, groups: Any, room: Any, o: Any) -> None:
    """o (4, room) = o · keep + share · weights · values, of the first `groups` of 16 positions."""

    def columns(first: Any, vectors: int) -> None:
        sums = [[cgutils.alloca_once_value(b, const(INTS, 0)) for _ in range(vectors)] for _ in range(4)]
        values = b.add(b.add(scratch, b.mul(room, I64(2 * BLOCK))), b.mul(first, I64(2 * BLOCK)))
        with cgutils.for_range(b, groups) as group:
            rows, weights = b.add(values, b.shl(group.index, I64(9))), b.shl(group.index, I64(5))
            for p in range(8):
                loaded = [load(b, WORDS, rows, ROUNDED + 32 * BLOCK * v + 64 * p) for v in range(vectors)]
                for i, totals in enumerate(sums):
                    weight = _pair(b, b.add(scratch, weights), WEIGHTS + 2 * BLOCK * i + 4 * p)
                    for total, value in zip(totals, loaded, strict=True):
                        b.store(dot2(b, b.load(total), value, weight), total)
        for i, totals in enumerate(sums):
            keep, share = (splat(b, load(b, F32, scratch, at + 4 * i), 16) for at in (KEEP, SHARE))
            for v, total in enumerate(totals):
                place = b.add(o, b.shl(b.add(first, b.add(b.mul(room, I64(i)), I64(16 * v))), I64(2)))
                kept = b.fmul(load(b, FLOATS, place), keep)
                store(b, fma(b, b.sitofp(b.load(total), FLOATS), share, kept), place)

    whole = b.and_(room, I64(-16 * TOGETHER))
    with cgutils.for_range_slice(b, I64(0), whole, I64(16 * TOGETHER)) as (column, _):
        columns(column, TOGETHER)
    with cgutils.for_range_slice(b, whole, room, I64(16)) as (column, _):
        columns(column, 1)


def _largest(b: ir.IRBuilder, scores: list[Any]) -> Any:
    one, two, three, four = scores
    return larger(b, larger(b, one, two), larger(b, three, four))


def _power(b: ir.IRBuilder, x: Any) -> Any:
    """2^x for x up to about 0; 0 for what is less than -126."""
    shifted = b.fadd(x, const(FLOATS, WHOLE))
    rest = b.fsub(x, b.fsub(shifted, const(FLOATS, WHOLE)))
    power = const(FLOATS, POWERS[0])
    for c in POWERS[1:]:
        power = fma(b, power, rest, const(FLOATS, c))
    exponent = b.shl(b.bitcast(shifted, INTS), const(INTS, 23))  # its higher bits are lost, as they should
    power = b.bitcast(b.add(b.bitcast(power, INTS), exponent), FLOATS)
    return b.select(b.fcmp_ordered(">=", x, const(FLOATS, -126.0)), power, const(FLOATS, 0.0))


def _pair(b: ir.IRBuilder, address: Any, offset: int) -> Any:
    """Two int16, repeated."""
    return b.bitcast(splat(b, load(b, I32, address, offset, align=4), 16), WORDS)
