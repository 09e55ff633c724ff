"""One head of a row of heads: its norm, its rotation, and where its key and value lie in the cache."""

import numpy as np

from localmix.backends.numba.attend.fourbits import spread32, store_q4_0
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.words import load_f32, record, store_f16, store_f32
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

F32, F16, Q8_0, Q4_0 = map(KINDS.index, ("f32", "f16", "q8_0", "q4_0"))
assert len(KINDS) == 4, f"`_store` does not keep all of {KINDS}"


@inner
def normed(row: int, head: int, w: Record, size: int, out: int) -> None:
    """out (d) = a head of the row, normed by itself, or with all others where the norm is as wide as the row."""
    x, weight = row + 4 * head * size, w.weight + (0 if w.width == size else 4 * head * size)
    scale = inverse_size(x if w.width == size else row, w.width, w.eps)
    multiplied(x, scale, weight, size, out)


@inner
def rotate(x: int, a: Record, s: Record, t: int) -> None:
    """Rotate the pairs of one head of token t in place: (2i, 2i + 1), or (i, i + n)."""
    n = a.rotated
    if n == 0:
        return
    rotation = record(s.rotations + a.rope * ROTATION_BYTES, ROTATION_T)
    cos, sin = rotation.cos + 4 * t * n, rotation.sin + 4 * t * n
    step, distance = (4, 4 * n) if a.halves else (8, 4)
    for i in range(n):
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
        for i in range(size):
            store_f32(out + 4 * i, load_f32(out + 4 * i) * scale)
    else:
        for i in range(size):
            store_f32(out + 4 * i, load_f32(row + 4 * (head * size + i)) * scale)
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
        for i in range(size):
            store_f32(key + 4 * i, load_f32(row + 4 * (head * size + i)))
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
        for i in range(a.size):
            store_f16(target + 2 * i, load_f32(x + 4 * i))
    elif kind == F32:
        for i in range(a.size):
            store_f32(target + 4 * i, load_f32(x + 4 * i))


@inner
def pages_of(s: Record, a: Record, span: Record) -> int:
    """Where the addresses of a span's pages begin that have the keys and values of a layer."""
    return s.pages + 8 * (a.pool * s.page_count + span.page)


@inner
def page_offset(a: Record, values: int, head: int) -> int:
    """Bytes from the start of a page to a head's keys or values: a page is (layers, 2, K, PAGE, a row)."""
    return ((a.place * 2 + values) * a.kv_heads + head) * PAGE * a.kv_row
