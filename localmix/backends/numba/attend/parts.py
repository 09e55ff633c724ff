"""Attention of one token, as in decoding: parts of its positions have a softmax of their own and are put together.

Of a token alone, threads share the parts; of one among others, a thread does all parts of a head. Both give the same.
"""

import numpy as np

from localmix.backends.numba.blocks.heads import page_offset, query
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.control import call1
from localmix.backends.numba.machine.words import (
    div16,
    exp_f32,
    load_f32,
    load_f32x16,
    record,
    splat_f32x16,
    store_f32,
    store_f32x16,
    store_i64,
)
from localmix.backends.numba.passes.parts import ATTEND_T, NOTHING, Record, add_scaled, pieces_of
from localmix.backends.numba.passes.records import FEW, SPLIT, SPLITS
from localmix.engine.cache import PAGE


@inner
def first_seen(a: Record, position: int) -> int:
    """Where the page begins with the first position that a token sees."""
    return max(position + 1 - a.window, 0) // PAGE * PAGE if a.window != 0 else 0


@inner
def part_size(a: Record, position: int) -> int:
    """Positions that are one part of those a token sees: whole pages, whatever the number of threads."""
    return max(SPLIT, pieces_of(position + 1 - first_seen(a, position), SPLITS * PAGE) * PAGE)


@inner
def parts_of(a: Record, position: int) -> int:
    """How many parts they have."""
    return pieces_of(position + 1 - first_seen(a, position), part_size(a, position))


@inner
def start_of_part(a: Record, position: int, part: int) -> int:
    """The first position of a part."""
    return first_seen(a, position) + part * part_size(a, position)


@inner
def partial_bytes(a: Record) -> int:
    """The size of what one part of a kv head gives: o, m and l of each query."""
    return (a.heads // a.kv_heads + 3) // 4 * 4 * (a.room + 2) * 4


@inner
def attend_part(a: Record, own: Record, head: int, pages: int, position: int, part: int, out: int) -> None:
    """One part of the positions for the queries of one kv head, which own.queries has, into a partial result."""
    group, room, start = a.heads // a.kv_heads, a.room, start_of_part(a, position, part)
    fours = (group + 3) // 4 * 4
    job = record(own.attend, ATTEND_T)
    job.keys, job.values, job.row = page_offset(a, 0, head), page_offset(a, 1, head), a.kv_row
    job.q, job.queries, job.limits, job.pages = own.queries, group, own.limits, pages
    job.few, job.window = group <= FEW, a.window
    for g in range(group):
        store_i64(own.limits + 8 * g, position)
    job.p0, job.p1, job.room = start, min(position + 1, start + part_size(a, position)), room
    job.o, job.m, job.l = out, out + 4 * fours * room, out + 4 * fours * (room + 1)
    job.scratch = own.scratch
    call1(a.attend, own.attend)


@inner
def merge(a: Record, partials: int, parts: int, head: int, out: int) -> None:
    """The parts of a query head together, with its sink: out (d)."""
    group, room, size = a.heads // a.kv_heads, a.room, a.size
    g, fours, each = head % group, (group + 3) // 4 * 4, partial_bytes(a)
    top = np.float32(-1e30)
    for part in range(parts):
        top = max(top, load_f32(partials + part * each + 4 * (fours * room + g)))
    if a.sinks != 0:
        top = max(top, load_f32(a.sinks + 4 * head))
    total = NOTHING if a.sinks == 0 else exp_f32(load_f32(a.sinks + 4 * head) - top)
    whole = size // 16 * 16
    for part in range(parts):
        at = partials + part * each
        keep = exp_f32(load_f32(at + 4 * (fours * room + g)) - top)
        total += keep * load_f32(at + 4 * (fours * (room + 1) + g))
        add_scaled(at + 4 * g * room, keep, whole, out, part == 0)
        for i in range(whole, size):
            value = keep * load_f32(at + 4 * (g * room + i))
            store_f32(out + 4 * i, value if part == 0 else value + load_f32(out + 4 * i))
    totals = splat_f32x16(total)
    for i in range(0, whole, 16):
        store_f32x16(out + 4 * i, div16(load_f32x16(out + 4 * i), totals))
    for i in range(whole, size):
        store_f32(out + 4 * i, load_f32(out + 4 * i) / total)


@inner
def load_queries(s: Record, a: Record, own: Record, t: int, head: int) -> None:
    """The queries of token t that share a kv head, into own.queries."""
    group = a.heads // a.kv_heads
    for g in range(group):
        query(s, a, t, head * group + g, own.queries + 4 * g * a.room)
