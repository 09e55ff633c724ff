"""Attention of many tokens, of one sequence or of several. Phases as for one token, but what there each thread
repeats is shared here.
"""

from typing import Any

import numpy as np

from localmix.backends.numba.attend.parts import attend_part, load_queries, merge, partial_bytes, parts_of
from localmix.backends.numba.blocks.heads import keep, page_offset, pages_of, query
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.control import call1
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import exp_f32, load_f32, load_i64, record, store_f32, store_i64
from localmix.backends.numba.passes.parts import (
    ATTEND_T,
    ATTENTION_T,
    NETWORK_T,
    PRIVATE_T,
    SPAN_BYTES,
    SPAN_T,
    STEP_T,
    Record,
    add_rows,
    done,
    norm,
    part_of_all_rows,
    pieces_of,
    portion,
    products,
    quantize,
    start_of,
    take,
    tile_rows,
    wait,
)
from localmix.backends.numba.passes.records import COUNTER, TILES
from localmix.engine.cache import PAGE


@native(4)
def attention(step: int, block: int, thread: int, counter: int) -> None:
    s, a = record(step, STEP_T), record(block, ATTENTION_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    _normed(s, n, a, counter)
    _qkv(s, a, own, counter + COUNTER)
    _append(s, n, a, own, counter + 2 * COUNTER)
    if s.keys_only:
        return
    _attend(s, a, own, counter + 3 * COUNTER)
    _quantized(s, n, a, counter + 4 * COUNTER)
    _output(s, n, a, own, counter + 5 * COUNTER)


@inner
def _normed(s: Record, n: Record, a: Record, counter: int) -> None:
    """xf and xq of every token."""
    each = portion(s.tokens, s.threads)
    piece, pieces = take(counter), pieces_of(s.tokens, each)
    while piece < pieces:
        for t in range(piece * each, min(s.tokens, (piece + 1) * each)):
            norm(s.x + 4 * t * n.width, a.norm, s.xf + t * s.xf_bytes)
            quantize(s.xf + t * s.xf_bytes, s.xq + t * s.xq_bytes, n.width, n.activations)
        piece = done(counter)
    wait(counter, pieces, s.yields)


@inner
def _qkv(s: Record, a: Record, own: Record, counter: int) -> None:
    q, k = pieces_of(a.q.rows, tile_rows(a.q.rows)), pieces_of(a.k.rows, tile_rows(a.k.rows))
    pieces = q + k + pieces_of(a.v.rows, tile_rows(a.v.rows))
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        if piece < q:
            part_of_all_rows(a.q, piece, coming, own, s, s.tokens, s.q)
        elif piece < q + k:
            part_of_all_rows(a.k, piece - q, coming - q, own, s, s.tokens, s.k)
        else:
            part_of_all_rows(a.v, piece - q - k, coming - q - k, own, s, s.tokens, s.v)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _append(s: Record, n: Record, a: Record, own: Record, counter: int) -> None:
    """Store the new keys and values. A piece is one kv head."""
    piece = take(counter)
    while piece < a.kv_heads:
        for i in range(s.span_count):
            span = record(s.spans + i * SPAN_BYTES, SPAN_T)
            for j in range(span.count):
                position = span.start + j
                page = load_i64(pages_of(s, a, span) + 8 * (position // PAGE))
                keep(s, n, a, span.row + j, piece, page, position % PAGE, own.key)
        piece = done(counter)
    wait(counter, a.kv_heads, s.yields)


@inner
def _attend(s: Record, a: Record, own: Record, counter: int) -> None:
    """A piece is one kv head and a block of a span's tokens; late tokens, the longest work, come first."""
    offset = 0
    piece = take(counter)
    for i in range(s.span_count):
        span = record(s.spans + i * SPAN_BYTES, SPAN_T)
        blocks = pieces_of(span.count, a.block)
        while piece < offset + blocks * a.kv_heads:
            block, head = (piece - offset) // a.kv_heads, (piece - offset) % a.kv_heads
            if span.count == 1:
                _attend_one(s, a, own, span, head)
            else:
                _attend_block(s, a, own, span, blocks - 1 - block, head)
            piece = done(counter)
        offset += blocks * a.kv_heads
    wait(counter, offset, s.yields)


@inner
def _attend_one(s: Record, a: Record, own: Record, span: Record, head: int) -> None:
    """All parts of the one token of a span."""
    group, parts, t = a.heads // a.kv_heads, parts_of(a, span.start), span.row
    load_queries(s, a, own, t, head)
    for part in range(parts):
        out = own.results + part * partial_bytes(a)
        attend_part(a, own, head, pages_of(s, a, span), span.start, part, out)
    for h in range(head * group, (head + 1) * group):
        merge(a, own.results, parts, h, s.mixed + t * s.mixed_bytes + 4 * h * a.size)


@inner
def _attend_block(s: Record, a: Record, own: Record, span: Record, block: int, head: int) -> None:
    group, room, size = a.heads // a.kv_heads, a.room, a.size
    first, count = block * a.block, min(a.block, span.count - block * a.block)
    job = record(own.attend, ATTEND_T)
    for i in range(count * group):
        query(s, a, span.row + first + i // group, head * group + i % group, own.queries + 4 * i * room)
        store_i64(own.limits + 8 * i, span.start + first + i // group)
    job.q, job.queries, job.limits, job.pages = own.queries, count * group, own.limits, pages_of(s, a, span)
    job.few, job.window = False, a.window
    job.keys, job.values, job.row = page_offset(a, 0, head), page_offset(a, 1, head), a.kv_row
    start = span.start + first
    job.p0, job.p1, job.room = max(start + 1 - a.window, 0) // 16 * 16 if a.window else 0, start + count, room
    fours = (count * group + 3) // 4 * 4
    job.o, job.m, job.l = own.results, own.results + 4 * fours * room, own.results + 4 * fours * (room + 1)
    job.scratch = own.scratch
    call1(a.attend, own.attend)
    for i in range(count * group):
        t, h = span.row + first + i // group, head * group + i % group
        inverse = _share(a, h, load_f32(job.m + 4 * i), load_f32(job.l + 4 * i))
        out = s.mixed + t * s.mixed_bytes + 4 * h * size
        for c in range(size):
            store_f32(out + 4 * c, load_f32(job.o + 4 * (i * room + c)) * inverse)


@inner
def _share(a: Record, head: int, m: float, total: float) -> Any:
    """What a head's sum of values is multiplied by: its largest score is m, the sum of its weights total."""
    if a.sinks == 0:
        return np.float32(1) / total
    sink = load_f32(a.sinks + 4 * head)
    top = max(m, sink)
    factor = exp_f32(m - top)
    return factor / (total * factor + exp_f32(sink - top))


@inner
def _quantized(s: Record, n: Record, a: Record, counter: int) -> None:
    each = portion(s.tokens, s.threads)
    piece, pieces = take(counter), pieces_of(s.tokens, each)
    while piece < pieces:
        for t in range(piece * each, min(s.tokens, (piece + 1) * each)):
            quantize(s.mixed + t * s.mixed_bytes, s.xq + t * s.xq_bytes, a.output.width, n.activations)
        piece = done(counter)
    wait(counter, pieces, s.yields)


@inner
def _output(s: Record, n: Record, a: Record, own: Record, counter: int) -> None:
    """The projection, added to x."""
    w, chunk = a.output, tile_rows(a.output.rows)
    x, stride = (s.mixed, s.mixed_bytes) if w.floats else (s.xq, s.xq_bytes)
    pieces = pieces_of(w.rows, chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        first = piece * chunk
        rows, then = min(chunk, w.rows - first), start_of(w, coming, chunk, first)
        products(w, first, rows, own.job, x, stride, s.tokens, own.gate, 4 * TILES, then)
        for t in range(s.tokens):
            add_rows(own.gate + 4 * t * TILES, a.residual, rows, s.x + 4 * (t * n.width + first))
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)
