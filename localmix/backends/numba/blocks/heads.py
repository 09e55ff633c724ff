"""One head of a row of heads: its norm, its rotation, and where its key and value lie in the cache."""

from typing import Any

import numpy as np
from llvmlite import ir

from localmix.backends.numba.attend.fourbits import spread32, store_q4_0
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import F32 as FLOAT
from localmix.backends.numba.machine.simd import load, shuffle, store, vec
from localmix.backends.numba.machine.words import (
    int64,
    load_f32,
    load_f32x16,
    mul16,
    record,
    splat_f32x16,
    store_f16,
    store_f16x16,
    store_f32,
    store_f32x16,
    void,
    word,
)
from localmix.backends.numba.passes.parts import (
    NOTHING,
    ROTATION_BYTES,
    ROTATION_T,
    Record,
    inverse_size,
    multiplied,
)
from localmix.backends.numba.passes.records import KINDS
from localmix.backends.numba.products.activations import store_q8_0
from localmix.engine.cache import PAGE

FLOATS = vec(FLOAT, 16)
F32, F16, Q8_0, Q4_0 = map(KINDS.index, ("f32", "f16", "q8_0", "q4_0"))
assert len(KINDS) == 4, f"`_store` does not keep all of {KINDS}"


@inner
def normed(row: int, head: int, w: Record, size: int, out: int) -> None:
    """out (d) = a head of the row, normed by itself, or with all others where the norm is as wide as the row."""
    x, weight = row + 4 * head * size, w.weight + (0 if w.width == size else 4 * head * size)
    scale = inverse_size(x if w.width == size else row, w.width, w.eps)
    multiplied(x, scale, weight, size, out)


@word(void, int64, int64, int64, int64)
def rotate_halves(b: ir.IRBuilder, x: Any, distance: Any, cos: Any, sin: Any) -> None:
    """Rotate 16 pairs, whose second numbers lie `distance` bytes after the first ones."""
    other = b.add(x, distance)
    p, q = _rotated(b, load(b, FLOATS, x), load(b, FLOATS, other), cos, sin)
    store(b, p, x)
    store(b, q, other)


@word(void, int64, int64, int64)
def rotate_neighbours(b: ir.IRBuilder, x: Any, cos: Any, sin: Any) -> None:
    """Rotate 16 pairs, whose numbers are neighbours."""
    pairs = [load(b, FLOATS, x), load(b, FLOATS, x, 64)]
    p, q = (shuffle(b, pairs[0], range(first, 32, 2), pairs[1]) for first in (0, 1))
    p, q = _rotated(b, p, q, cos, sin)
    for half in (0, 1):
        store(b, shuffle(b, p, [8 * half + i // 2 + 16 * (i % 2) for i in range(16)], q), x, 64 * half)


def _rotated(b: ir.IRBuilder, p: Any, q: Any, cos: Any, sin: Any) -> tuple[Any, Any]:
    c, d = load(b, FLOATS, cos), load(b, FLOATS, sin)
    return b.fsub(b.fmul(p, c), b.fmul(q, d)), b.fadd(b.fmul(p, d), b.fmul(q, c))


@inner
def scaled(x: int, scale: float, size: int, out: int) -> None:
    """out = x · scale."""
    whole, factor = size // 16 * 16, splat_f32x16(np.float32(scale))
    for i in range(0, whole, 16):
        store_f32x16(out + 4 * i, mul16(load_f32x16(x + 4 * i), factor))
    for i in range(whole, size):
        store_f32(out + 4 * i, load_f32(x + 4 * i) * np.float32(scale))


@inner
def rotate(x: int, a: Record, s: Record, t: int) -> None:
    """Rotate the pairs of one head of token t in place: (2i, 2i + 1), or (i, i + n)."""
    n, whole = a.rotated, a.rotated // 16 * 16
    if n == 0:
        return
    rotation = record(s.rotations + a.rope * ROTATION_BYTES, ROTATION_T)
    cos, sin = rotation.cos + 4 * t * n, rotation.sin + 4 * t * n
    step, distance = (4, 4 * n) if a.halves else (8, 4)
    for i in range(0, whole, 16):
        if a.halves:
            rotate_halves(x + 4 * i, 4 * n, cos + 4 * i, sin + 4 * i)
        else:
            rotate_neighbours(x + 8 * i, cos + 4 * i, sin + 4 * i)
    for i in range(whole, n):
        at = x + i * step
        p, q = load_f32(at), load_f32(at + distance)
        c, d = load_f32(cos + 4 * i), load_f32(sin + 4 * i)
        store_f32(at, p * c - q * d)
        store_f32(at + distance, p * d + q * c)


@inner
def query(s: Record, a: Record, t: int, head: int, out: int) -> None:
    """out = the query of a head of token t: normed, scaled, rotated, and padded with zeros to the cache's room."""
    row, size, scale = s.q + 4 * t * a.heads * a.size, a.size, np.float32(a.scale)
    if a.q_norm.weight != 0:
        normed(row, head, a.q_norm, size, out)
        scaled(out, scale, size, out)
    else:
        scaled(row + 4 * head * size, scale, size, out)
    for i in range(size, a.room):
        store_f32(out + 4 * i, NOTHING)
    rotate(out, a, s, t)
    if a.spread:
        _spread(out, size)


@inner
def keep(s: Record, n: Record, a: Record, t: int, head: int, page: int, at: int, key: int) -> None:
    """Store the key and the value of a head of token t at a position of a page; `key` is room for one head."""
    row, size = s.k + 4 * t * a.kv_heads * a.size, a.size
    if a.k_norm.weight != 0:
        normed(row, head, a.k_norm, size, key)
    else:
        scaled(row + 4 * head * size, 1.0, size, key)
    rotate(key, a, s, t)
    if a.spread:
        _spread(key, size)
    _store(key, n.kv, a, page + page_offset(a, 0, head) + at * a.kv_row)
    value = s.v + 4 * (t * a.kv_heads + head) * size
    _store(value, n.kv, a, page + page_offset(a, 1, head) + at * a.kv_row)


@inner
def _spread(x: int, size: int) -> None:
    """A head of a query or key as keys of 4 bits are kept: see engine/fourbits.py."""
    for i in range(0, size, 32):
        spread32(x + 4 * i)


@inner
def _store(x: int, kind: int, a: Record, target: int) -> None:
    """One head's key or value, rounded as the cache keeps it."""
    if kind == Q8_0:
        for i in range(0, a.size, 32):
            store_q8_0(x + 4 * i, target + i // 32 * 34)
    elif kind == Q4_0:
        for i in range(0, a.size, 32):
            store_q4_0(x + 4 * i, target + i // 32 * 18)
    elif kind == F16:
        whole = a.size // 16 * 16
        for i in range(0, whole, 16):
            store_f16x16(target + 2 * i, load_f32x16(x + 4 * i))
        for i in range(whole, a.size):
            store_f16(target + 2 * i, load_f32(x + 4 * i))
    elif kind == F32:
        scaled(x, 1.0, a.size, target)


@inner
def pages_of(s: Record, a: Record, span: Record) -> int:
    """Where the addresses of a span's pages begin that have the keys and values of a layer."""
    return s.pages + 8 * (a.pool * s.page_count + span.page)


@inner
def page_offset(a: Record, values: int, head: int) -> int:
    """Bytes from the start of a page to a head's keys or values: a page is (layers, 2, K, PAGE, a row)."""
    return ((a.place * 2 + values) * a.kv_heads + head) * PAGE * a.kv_row
