"""Attention of a few queries of one kv head over pages of keys and values, with an online softmax.

Sixteen positions at a time: keys are turned so that a lane is a position, then scores need no sums across lanes.
Everything is read as stored, also the keys of the same batch: a prompt in chunks equals a prompt in one.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir

from localmix.backends.numba.compiler import inner
from localmix.backends.numba.dots import hardware_half
from localmix.backends.numba.layout import ATTEND, PAGE
from localmix.backends.numba.native import native
from localmix.backends.numba.simd import (
    F32,
    I16,
    exp16,
    exp_f32,
    f32x16,
    float32,
    fma16,
    half_to_float,
    int64,
    load,
    load_f32,
    load_f32x16,
    load_i64,
    max16,
    mul16,
    record,
    splat,
    splat_f32x16,
    store,
    store_f32,
    store_f32x16,
    sum16,
    turn,
    vec,
    void,
    word,
)

ATTEND_T = numba.from_dtype(ATTEND)
_NONE = np.float32(-1e30)  # below any score; minus infinity would make 0/0 of a block that sees nothing


@word(f32x16, f32x16, int64, float32)
def mask16(b: ir.IRBuilder, x: Any, count: Any, other: Any) -> Any:
    """x in the first `count` lanes, `other` in the rest."""
    lanes = ir.Constant(vec(ir.IntType(64), 16), list(range(16)))
    return b.select(b.icmp_signed("<", lanes, splat(b, count, 16)), x, splat(b, other, 16))


@word(f32x16, f32x16, float32)
def minus16(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.fsub(x, splat(b, y, 16))


def _load16(size: int) -> Any:
    """The IR that loads 16 stored numbers as float32."""

    def emit(b: ir.IRBuilder, address: Any, offset: int = 0) -> Any:
        if size == 4:
            return load(b, vec(F32, 16), address, offset)
        return half_to_float(b, load(b, vec(I16, 16), address, offset), hardware_half())

    return emit


def _kernel(size: int) -> Any:
    load16 = _load16(size)

    @word(void, int64, int64, int64)
    def turn_keys(b: ir.IRBuilder, keys: Any, row_bytes: Any, out: Any) -> None:
        """16 rows of keys, 16 columns: as columns of 16 positions."""
        rows = [load16(b, b.add(keys, b.mul(row_bytes, ir.Constant(ir.IntType(64), r)))) for r in range(16)]
        for i, column in enumerate(turn(b, rows)):
            store(b, column, out, 64 * i)

    @word(void, int64, int64)
    def widen(b: ir.IRBuilder, source: Any, out: Any) -> None:
        store(b, load16(b, source), out)

    @native(1)
    def attend(job: int) -> None:
        """Unnormalised: o is the sum of e^(score - m) · value, l the sum of e^(score - m).

        Queries go four at a time, so that each key and value is loaded once for four; q, limits, o, m and l have room
        for whole fours, and what lies beyond `queries` is computed and means nothing.
        """
        j = record(job, ATTEND_T)
        room, row = j.room, j.room * size
        turned = (j.scratch + 63) // 64 * 64  # (room, 16)
        values = turned + room * 64  # (16, room)
        weights = values + room * 64  # (4, 16)
        fours = (j.queries + 3) // 4 * 4
        for i in range(fours):
            store_f32(j.m + 4 * i, _NONE)
            store_f32(j.l + 4 * i, np.float32(0))
            for c in range(0, room, 16):
                store_f32x16(j.o + 4 * (i * room + c), splat_f32x16(np.float32(0)))
        for p in range(j.p0, j.p1, 16):
            page = load_i64(j.pages + 8 * (p // PAGE))
            at = p % PAGE * row
            for c in range(0, room, 16):
                turn_keys(page + j.keys + at + c * size, row, turned + c * 64)
            for c in range(0, 16 * room, 16):
                widen(page + j.values + at + c * size, values + 4 * c)
            for i in range(0, fours, 4):
                last = min(load_i64(j.limits + 8 * min(i + 3, j.queries - 1)) + 1, j.p1) - p
                if last > 0:  # limits never fall: the fourth sees most
                    _scores(j.q + 4 * i * room, room, turned, weights)
                    for four in range(4):
                        limit = load_i64(j.limits + 8 * min(i + four, j.queries - 1))
                        seen = min(limit + 1, j.p1) - p
                        _soften(weights + 64 * four, seen, j.m + 4 * (i + four), j.l + 4 * (i + four))
                    _mix(weights, min(last, 16), values, room, j.o + 4 * i * room, weights + 256)

    return attend


@inner
def _scores(q: int, room: int, turned: int, out: int) -> None:
    """Scores of four queries with 16 positions: (4, 16)."""
    a, b = splat_f32x16(np.float32(0)), splat_f32x16(np.float32(0))
    c, d = splat_f32x16(np.float32(0)), splat_f32x16(np.float32(0))
    for i in range(room):
        k = load_f32x16(turned + 64 * i)
        a = fma16(splat_f32x16(load_f32(q + 4 * i)), k, a)
        b = fma16(splat_f32x16(load_f32(q + 4 * (room + i))), k, b)
        c = fma16(splat_f32x16(load_f32(q + 4 * (2 * room + i))), k, c)
        d = fma16(splat_f32x16(load_f32(q + 4 * (3 * room + i))), k, d)
    store_f32x16(out, a)
    store_f32x16(out + 64, b)
    store_f32x16(out + 128, c)
    store_f32x16(out + 192, d)


@inner
def _soften(at: int, seen: int, m: int, l: int) -> None:  # noqa: E741
    """One query's scores become weights, of which it sees the first `seen`; 256 bytes on, what its sums keep."""
    keep = np.float32(1)
    if seen <= 0:
        store_f32x16(at, splat_f32x16(np.float32(0)))
    else:
        scores = load_f32x16(at)
        if seen < 16:
            scores = mask16(scores, seen, _NONE)
        old = load_f32(m)
        new = max(old, max16(scores))
        weights = exp16(minus16(scores, new))
        if seen < 16:
            weights = mask16(weights, seen, np.float32(0))
        if new > old:
            keep = exp_f32(old - new)
        store_f32(m, new)
        store_f32(l, load_f32(l) * keep + sum16(weights))
        store_f32x16(at, weights)
    store_f32(at + 256, keep)


@inner
def _mix(weights: int, count: int, values: int, room: int, o: int, keep: int) -> None:
    """o = o · keep + weights · values, for four queries and `count` positions."""
    for i in range(0, room, 16):
        at = o + 4 * i
        a = mul16(load_f32x16(at), splat_f32x16(load_f32(keep)))
        b = mul16(load_f32x16(at + 4 * room), splat_f32x16(load_f32(keep + 64)))
        c = mul16(load_f32x16(at + 8 * room), splat_f32x16(load_f32(keep + 128)))
        d = mul16(load_f32x16(at + 12 * room), splat_f32x16(load_f32(keep + 192)))
        for p in range(count):
            v = load_f32x16(values + 4 * (p * room + i))
            a = fma16(splat_f32x16(load_f32(weights + 4 * p)), v, a)
            b = fma16(splat_f32x16(load_f32(weights + 64 + 4 * p)), v, b)
            c = fma16(splat_f32x16(load_f32(weights + 128 + 4 * p)), v, c)
            d = fma16(splat_f32x16(load_f32(weights + 192 + 4 * p)), v, d)
        store_f32x16(at, a)
        store_f32x16(at + 4 * room, b)
        store_f32x16(at + 8 * room, c)
        store_f32x16(at + 12 * room, d)


f16 = _kernel(2)
f32 = _kernel(4)
