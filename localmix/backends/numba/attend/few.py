"""Attention of four queries straight from the rows of keys and values: what decoding needs, where each is used once.

Scores are made a key at a time, lanes along the head; the sums across lanes of 16 keys are one tree of shuffles.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.attend.stored import Stored
from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.simd import F32, I64, ask, const, fma, fold, load, splat, store, vec
from localmix.backends.numba.machine.words import int64, void, word

FLOATS = vec(F32, 16)


def scores_of_four(kept: Stored) -> Any:
    """The word that multiplies four queries with 16 keys."""
    together = 4 if isa.active().tokens == 8 else 1  # keys whose sums stay in registers

    @word(void, int64, int64, int64, int64, int64, int64)
    def scores(b: ir.IRBuilder, q: Any, room: Any, keys: Any, row_bytes: Any, out: Any, ahead: Any) -> None:
        """q (4, room) float32, 16 rows of keys: out (4, 16). Meanwhile the 16 rows at `ahead` are asked for."""
        parts: list[list[Any]] = [[], [], [], []]
        for first in range(0, 16, together):
            rows = [b.add(keys, b.mul(row_bytes, I64(first + r))) for r in range(together)]
            early = b.add(ahead, b.mul(row_bytes, I64(first)))
            for part, sums in zip(parts, _products(b, kept, q, room, rows, early), strict=True):
                part.append(fold(b, sums, 16, b.fadd))
        for i, part in enumerate(parts):
            store(b, fold(b, part, len(part), b.fadd), out, 64 * i)

    return scores


def _products(b: ir.IRBuilder, kept: Stored, q: Any, room: Any, rows: Sequence[Any], ahead: Any) -> list[list[Any]]:
    """For each of four queries its products with each row, 16 lanes still to be summed."""
    sums = [[cgutils.alloca_once_value(b, const(FLOATS, 0.0)) for _ in rows] for _ in range(4)]
    count = kept.vectors
    with cgutils.for_range(b, b.udiv(room, I64(16 * count))) as loop:
        column = b.mul(loop.index, I64(16 * count))
        _ask(b, kept, ahead, loop.index, count * len(rows))
        keys = [kept.load(b, row, column, count) for row in rows]
        for i in range(4):
            at = b.add(q, b.shl(b.add(b.mul(room, I64(i)), column), I64(2)))
            for v in range(count):
                query = load(b, FLOATS, at, 64 * v)
                for key, total in zip(keys, sums[i], strict=True):
                    b.store(fma(b, query, key[v], b.load(total)), total)
    return [[b.load(total) for total in own] for own in sums]


def _ask(b: ir.IRBuilder, kept: Stored, rows: Any, index: Any, vectors: int) -> None:
    """Ask for as many bytes as that many vectors of 16 stored numbers take, the index-th time."""
    size = int(16 * kept.bytes) * vectors
    for line in range(0, size, 64):
        ask(b, b.add(rows, b.add(b.mul(index, I64(size)), I64(line))), 2)


def mixing_of_four(kept: Stored, asks: bool = True) -> Any:
    """The word that adds weighted values to the results of four queries; unless it `asks`, `ahead` means nothing."""
    together = 4 if isa.active().tokens == 8 else 1  # vectors of a row whose sums stay in registers

    @word(void, int64, int64, int64, int64, int64, int64, int64, int64)
    def mix(
        b: ir.IRBuilder, weights: Any, count: Any, values: Any, row_bytes: Any, room: Any, o: Any, keep: Any, ahead: Any
    ) -> None:
        """o (4, room) = o · keep + weights (4, 16) · `count` rows of values; keep (4).

        Meanwhile the 16 rows at `ahead` are asked for.
        """

        def columns(first: Any, vectors: int) -> None:
            at = [b.add(first, I64(16 * v)) for v in range(vectors)]
            early = b.add(ahead, b.mul(first, I64(int(16 * kept.bytes))))
            queries = [b.add(o, b.mul(room, I64(4 * i))) for i in range(4)]
            places = [[b.add(query, b.shl(c, I64(2))) for c in at] for query in queries]
            factors = [splat(b, load(b, F32, keep, 4 * i), 16) for i in range(4)]
            sums = [
                [cgutils.alloca_once_value(b, b.fmul(load(b, FLOATS, place), factor)) for place in own]
                for own, factor in zip(places, factors, strict=True)
            ]
            with cgutils.for_range(b, count) as loop:
                if asks:
                    _ask(b, kept, early, loop.index, vectors)
                row = b.add(values, b.mul(row_bytes, loop.index))
                loaded = kept.load(b, row, first, vectors)
                for i in range(4):
                    weight = splat(b, load(b, F32, b.add(weights, b.shl(loop.index, I64(2))), 64 * i), 16)
                    for value, total in zip(loaded, sums[i], strict=True):
                        b.store(fma(b, weight, value, b.load(total)), total)
            for own, totals in zip(places, sums, strict=True):
                for place, total in zip(own, totals, strict=True):
                    store(b, b.load(total), place)

        whole = b.and_(room, I64(-16 * together))
        with cgutils.for_range_slice(b, I64(0), whole, I64(16 * together)) as (column, _):
            columns(column, together)
        if together > 1:
            with cgutils.for_range_slice(b, whole, room, I64(16)) as (column, _):
                columns(column, 1)

    return mix
