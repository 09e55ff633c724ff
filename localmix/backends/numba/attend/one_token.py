"""Attention of one token, as in decoding: parts of its positions have a softmax of their own and are put together.

Of a token alone, threads share the parts; of one among others, a thread does all parts of a head. Both give the same.
"""

import numpy as np

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.control import call1
from localmix.backends.numba.machine.simd import exp_f32, load_f32, record, store_f32, store_i64
from localmix.backends.numba.passes.layout import SPLIT, SPLITS
from localmix.backends.numba.passes.parts import ATTEND_T, NOTHING, Record, add_scaled, page_offset, pieces_of, rotate
from localmix.engine.cache import PAGE

FEW = 4  # queries of a token that share a head's keys, for which reading these where they lie is fastest


@inner
def part_size(end: int) -> int:
    """Positions that are one part of a sequence of `end`: whole pages, whatever the number of threads."""
    return max(SPLIT, pieces_of(end, SPLITS * PAGE) * PAGE)


@inner
def parts_of(end: int) -> int:
    """How many parts such a sequence has."""
    return pieces_of(end, part_size(end))


@inner
def partial_bytes(n: Record) -> int:
    """The size of what one part of a kv head gives: o, m and l of each query."""
    group = n.heads // n.kv_heads
    return (group + 3) // 4 * 4 * (n.head_room + 2) * 4


@inner
def attend_part(n: Record, me: Record, index: int, head: int, pages: int, position: int, part: int, out: int) -> None:
    """One part of the positions for the queries of one kv head, which me.queries has, into a partial result."""
    group, room, end = n.heads // n.kv_heads, n.head_room, position + 1
    fours, size = (group + 3) // 4 * 4, part_size(end)
    job = record(me.attend, ATTEND_T)
    job.keys, job.values, job.row = page_offset(n, index, 0, head), page_offset(n, index, 1, head), n.kv_row
    job.q, job.queries, job.limits, job.pages = me.queries, group, me.limits, pages
    job.few = group <= FEW
    for g in range(group):
        store_i64(me.limits + 8 * g, position)
    job.p0, job.p1, job.room = part * size, min(end, (part + 1) * size), room
    job.o, job.m, job.l = out, out + 4 * fours * room, out + 4 * fours * (room + 1)
    job.scratch = me.scratch
    call1(n.attend, me.attend)


@inner
def merge(n: Record, partials: int, parts: int, g: int, out: int) -> None:
    """The parts of query g of one kv head together: out (d)."""
    room, size = n.head_room, n.head_dim
    fours, each = (n.heads // n.kv_heads + 3) // 4 * 4, partial_bytes(n)
    top = np.float32(-1e30)
    for part in range(parts):
        top = max(top, load_f32(partials + part * each + 4 * (fours * room + g)))
    total = NOTHING
    whole = size // 16 * 16
    for part in range(parts):
        at = partials + part * each
        keep = exp_f32(load_f32(at + 4 * (fours * room + g)) - top)
        total += keep * load_f32(at + 4 * (fours * (room + 1) + g))
        add_scaled(at + 4 * g * room, keep, whole, out, part == 0)
        for i in range(whole, size):
            value = keep * load_f32(at + 4 * (g * room + i))
            store_f32(out + 4 * i, value if part == 0 else value + load_f32(out + 4 * i))
    for i in range(size):
        store_f32(out + 4 * i, load_f32(out + 4 * i) / total)


@inner
def load_queries(s: Record, n: Record, me: Record, t: int, head: int) -> None:
    """The queries of token t that share a kv head, into me.queries."""
    group, cos, sin = n.heads // n.kv_heads, s.cos + 4 * t * n.rotated, s.sin + 4 * t * n.rotated
    for g in range(group):
        source = s.q + 4 * (t * n.heads + head * group + g) * n.head_dim
        load_query(source, me.queries + 4 * g * n.head_room, cos, sin, n)


@inner
def load_query(source: int, target: int, cos: int, sin: int, n: Record) -> None:
    """Copy one head's query, rotated and divided by sqrt(d), and padded with zeros to the cache's room."""
    scale = np.float32(1) / np.sqrt(np.float32(n.head_dim))
    for i in range(n.head_dim):
        store_f32(target + 4 * i, load_f32(source + 4 * i) * scale)
    for i in range(n.head_dim, n.head_room):
        store_f32(target + 4 * i, NOTHING)
    rotate(target, cos, sin, n.rotated)
