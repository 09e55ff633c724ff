"""Attention of a few queries of one kv head over pages of keys and values, with an online softmax.

Sixteen positions at a time, or a page of whole numbers, as large networks round what many queries share (rounded.py).
For many queries keys are turned so that a lane is a position, then scores need no sums across lanes; for the few of
one token that does not pay (few.py).
Everything is read as stored, also the keys of the same batch: a prompt in chunks equals a prompt in one.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.attend import stored
from localmix.backends.numba.attend.few import mixing_of_four, scores_of_four
from localmix.backends.numba.attend.rounded import (
    BLOCK,
    INVERSES,
    LOGARITHMS,
    ROUNDED,
    SCALES,
    mix_four,
    score_four,
    soften_four,
)
from localmix.backends.numba.attend.rounding import keys_and_values, round_query
from localmix.backends.numba.attend.softmax import LEAST, UNSEEN, soften
from localmix.backends.numba.attend.stored import Stored
from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import F32, I64, const, fma, load, splat, store, turn, vec
from localmix.backends.numba.machine.words import (
    int64,
    load_i64,
    record,
    splat_f32x16,
    store_f32,
    store_f32x16,
    void,
    word,
)
from localmix.backends.numba.passes.parts import ATTEND_T, Record
from localmix.backends.numba.passes.records import EARLY
from localmix.engine.cache import PAGE

FLOATS = vec(F32, 16)
# Queries whose scores are made together: with four sums at a time each would wait for its own additions, but 16
# registers have no room for more.
TOGETHER = 8 if isa.active().tokens == 8 else 4
OWN = 320  # bytes of what four of them have to themselves
mix_floats = mixing_of_four(stored.f32, asks=False)


def _kernel(kept: Stored, rounds: bool) -> Any:
    """For one kind of keys and values; many queries in floats, or, if it `rounds`, in whole numbers."""

    @word(void, int64, int64, int64, int64)
    def turn_keys(b: ir.IRBuilder, keys: Any, row_bytes: Any, column: Any, out: Any) -> None:
        """16 rows of keys, 16 columns: as columns of 16 positions."""
        rows = [kept.load16(b, b.add(keys, b.mul(row_bytes, I64(r))), column) for r in range(16)]
        for i, lane in enumerate(turn(b, rows)):
            store(b, lane, out, 64 * i)

    @word(void, int64, int64, int64)
    def widen(b: ir.IRBuilder, row: Any, column: Any, out: Any) -> None:
        store(b, kept.load16(b, row, column), out)

    scores4, mix4 = scores_of_four(kept), mixing_of_four(kept)

    @inner
    def few(j: Record, p: int, page: int, at: int, fours: int, weights: int) -> None:
        """Of one token: keys and values are used from where they lie, once for four queries."""
        following = min(p + EARLY, j.p1 - 1)
        ahead = load_i64(j.pages + 8 * (following // PAGE)) + following % PAGE * j.row
        for i in range(0, fours, 4):
            seen = _seen(j, i + 3, p)  # limits never fall: the fourth sees most
            if seen <= 0:
                continue
            q, o = j.q + 4 * i * j.room, j.o + 4 * i * j.room
            scores4(q, j.room, page + j.keys + at, j.row, weights, ahead + j.keys)
            _forget(j, i, p, weights, 16)
            soften(weights, j.m + 4 * i, j.l + 4 * i, _seen(j, i, p), _seen(j, i + 1, p), _seen(j, i + 2, p), seen)
            mix4(weights, min(seen, 16), page + j.values + at, j.row, j.room, o, weights + 256, ahead + j.values)

    @inner
    def many(j: Record, p: int, page: int, at: int, fours: int, scratch: int) -> None:
        """16 keys are turned and 16 values widened, once for all queries."""
        room = j.room
        # scratch: for each of two fours scores, then weights (4, 16) and what keeps their sums (4,); keys; values.
        turned, values = scratch + 2 * OWN, scratch + 2 * OWN + 64 * room  # (room, 16), (16, room)
        for c in range(0, room, 16):
            turn_keys(page + j.keys + at, j.row, c, turned + c * 64)
        for r in range(16):
            for c in range(0, room, 16):
                widen(page + j.values + at + r * j.row, c, values + 4 * (r * room + c))
        for first in range(0, fours, TOGETHER):
            end = min(first + TOGETHER, fours)
            if _seen(j, end - 1, p) <= 0:  # limits never fall: the last sees most
                continue
            score_floats(j.q + 4 * first * room, j.q + 4 * (end - 4) * room, room, turned, scratch)
            for i in range(first, end, 4):
                seen, weights = _seen(j, i + 3, p), scratch + (i - first) // 4 * OWN
                if seen > 0:
                    _forget(j, i, p, weights, 16)
                    a, b, c = _seen(j, i, p), _seen(j, i + 1, p), _seen(j, i + 2, p)
                    soften(weights, j.m + 4 * i, j.l + 4 * i, a, b, c, seen)
                    mix_floats(weights, min(seen, 16), values, 4 * room, room, j.o + 4 * i * room, weights + 256, 0)

    round_keys, round_values = keys_and_values(kept)

    @inner
    def many_rounded(j: Record, p: int, page: int, at: int, fours: int, scratch: int) -> None:
        """64 positions, whose keys and values are made whole numbers, once for all queries."""
        room = j.room
        keys, values = scratch + ROUNDED, scratch + ROUNDED + 2 * BLOCK * room  # laid out as rounding.py says
        for g in range(min(BLOCK, j.p1 - p + 15) // 16):
            row, scales = at + 16 * g * j.row, scratch + 64 * g
            round_keys(page + j.keys + row, j.row, room, keys + 64 * g, scales + SCALES)
            round_values(page + j.values + row, j.row, room, values + 512 * g, scales + LOGARITHMS)
        for r in range(j.p1 - p, BLOCK):  # whatever lies there is multiplied with nothing
            store_f32(scratch + INVERSES + 4 * r, np.float32(0))
        first = 0
        while _seen(j, first + 3, p) <= 0:  # limits never fall: the fourth sees most
            first += 4
        # The scores of four queries are made while the weights of those before wait for one another.
        for i in range(first - 4, fours, 4):
            then = i + 4
            if i >= first:
                soften_four(scratch, j.m + 4 * i, j.l + 4 * i)
            if then < fours:
                score_four(j.q + 4 * then * room, room, scratch)
                _forget(j, then, p, scratch, BLOCK)
                _hide(j, then, p, scratch)
            if i >= first:
                groups = (min(_seen(j, i + 3, p), BLOCK) + 15) // 16
                mix_four(scratch, groups, room, j.o + 4 * i * room)

    share = many_rounded if rounds else many

    @native(1)
    def attend(job: int) -> None:
        """Unnormalised: o is the sum of e^(score - m) · value, l the sum of e^(score - m).

        Queries go four at a time, so that each key and value is loaded once for four; q, limits, o, m and l have room
        for whole fours, and what lies beyond `queries` is computed and means nothing.
        """
        j = record(job, ATTEND_T)
        scratch = (j.scratch + 63) // 64 * 64
        fours = (j.queries + 3) // 4 * 4
        for i in range(fours):
            store_f32(j.m + 4 * i, np.float32(LEAST))
            store_f32(j.l + 4 * i, np.float32(0))
            for c in range(0, j.room, 16):
                store_f32x16(j.o + 4 * (i * j.room + c), splat_f32x16(np.float32(0)))
        if rounds and not j.few:  # in place: each query is used against all keys, and by this kernel alone
            for i in range(fours):
                round_query(j.q + 4 * i * j.room, j.room)
        step = BLOCK if rounds and not j.few else 16
        for p in range(j.p0 // step * step, j.p1, step):
            page = load_i64(j.pages + 8 * (p // PAGE))
            at = p % PAGE * j.row  # of a head's positions in this page: a block never crosses into the next
            if j.few:
                few(j, p, page, at, fours, scratch)
            else:
                share(j, p, page, at, fours, scratch)

    return attend


@inner
def _seen(j: Record, query: int, p: int) -> int:
    """How many positions from p on a query sees."""
    limit = load_i64(j.limits + 8 * min(query, j.queries - 1))
    return min(limit + 1, j.p1) - p


@inner
def _forget(j: Record, first: int, p: int, scores: int, block: int) -> None:
    """Of scores (4, block) from p on, those that lie before a query's window become less than any."""
    if j.window == 0:
        return
    for i in range(4):
        limit = load_i64(j.limits + 8 * min(first + i, j.queries - 1))
        for before in range(min(limit + 1 - j.window - p, block)):
            store_f32(scores + 4 * block * i + 4 * before, np.float32(UNSEEN))


@inner
def _hide(j: Record, first: int, p: int, scores: int) -> None:
    """The same of those that lie after what a query sees, in a block of rounded keys."""
    for i in range(4):
        for after in range(max(_seen(j, first + i, p), 0), BLOCK):
            store_f32(scores + 4 * (BLOCK * i + after), np.float32(UNSEEN))


@word(void, int64, int64, int64, int64, int64)
def score_floats(b: ir.IRBuilder, q: Any, last: Any, room: Any, turned: Any, out: Any) -> None:
    """Scores of four queries with 16 positions: (4, 16); if TOGETHER is 8, of the four at `last` OWN bytes behind."""
    rows = [b.add(four, b.mul(room, I64(4 * i))) for four in (q, last)[: TOGETHER // 4] for i in range(4)]
    sums = [cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in rows]
    with cgutils.for_range(b, room) as loop:
        keys = load(b, FLOATS, b.add(turned, b.shl(loop.index, I64(6))))
        for row, total in zip(rows, sums, strict=True):
            number = splat(b, load(b, F32, b.add(row, b.shl(loop.index, I64(2))), align=4), 16)
            b.store(fma(b, number, keys, b.load(total)), total)
    for i, total in enumerate(sums):
        store(b, b.load(total), out, i // 4 * OWN + 64 * (i % 4))


_ALL = stored.f32, stored.f16, stored.q8_0, stored.q4_0
f32, f16, q8_0, q4_0 = (_kernel(kept, False) for kept in _ALL)
f32_rounded, f16_rounded, q8_0_rounded, q4_0_rounded = (_kernel(kept, True) for kept in _ALL)
