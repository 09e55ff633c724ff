"""The forward pass of many tokens, of one sequence or of several: tokens are grouped by expert, and each weight is
unpacked once for all its tokens. Phases as in decoding, but what decoding repeats in each thread is shared here.
"""

import numpy as np

from localmix.backends.numba.attend.one_token import (
    attend_part,
    load_queries,
    load_query,
    merge,
    partial_bytes,
    parts_of,
)
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.control import call1
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import (
    load_f32,
    load_i32,
    load_i64,
    record,
    store_f32,
    store_i64,
)
from localmix.backends.numba.passes.decode import LAYER_BYTES
from localmix.backends.numba.passes.experts import SHARE, add, down, gate_up, group_by_expert
from localmix.backends.numba.passes.layout import BLOCK, SPAN, TILES
from localmix.backends.numba.passes.parts import (
    ATTEND_T,
    COUNTER,
    LAYER_T,
    NETWORK_T,
    PRIVATE_T,
    SPAN_T,
    STEP_T,
    Record,
    done,
    first_row,
    norm,
    page_offset,
    pieces_of,
    products,
    quantize,
    rotate,
    route,
    start_of,
    store_heads,
    take,
    wait,
)
from localmix.engine.cache import PAGE

SPAN_BYTES = SPAN.itemsize
PHASES = 12  # of a layer


@native(2)
def prompt(step: int, thread: int) -> None:
    s = record(step, STEP_T)
    n = record(s.network, NETWORK_T)
    me = record(s.private + thread * s.private_bytes, PRIVATE_T)
    counter = s.counters
    for index in range(s.first, s.last):
        layer = record(n.layers + index * LAYER_BYTES, LAYER_T)
        _normed(s, n, layer.attn_norm, 0, me, counter)
        _qkv(s, n, layer, me, counter + COUNTER)
        _append(s, n, index, counter + 2 * COUNTER)
        if s.keys_only:
            return
        _attend(s, n, index, me, counter + 3 * COUNTER)
        _output(s, n, layer, me, counter + 4 * COUNTER)  # two phases
        _normed(s, n, layer.ffn_norm, layer.gate_inp, me, counter + 6 * COUNTER)
        group_by_expert(s, n, layer, counter + 7 * COUNTER)  # two phases
        gate_up(s, n, layer, me, counter + 9 * COUNTER)
        down(s, n, layer, me, counter + 10 * COUNTER)
        add(s, n, counter + 11 * COUNTER)
        counter += PHASES * COUNTER
    if s.finish:
        _logits(s, n, me, counter)


@inner
def _normed(s: Record, n: Record, weight: int, gate: int, me: Record, counter: int) -> None:
    """xf and xq of every token; for the feed-forward part its experts too."""
    pieces = pieces_of(s.tokens, SHARE)
    piece = take(counter)
    while piece < pieces:
        for t in range(piece * SHARE, min(s.tokens, (piece + 1) * SHARE)):
            xf = s.xf + t * s.xf_bytes
            norm(s.x + 4 * t * n.width, weight, n.width, n.eps, xf)
            quantize(xf, s.xq + t * s.xq_bytes, n.width, n.wide)
            route(xf, gate, n.width, n.experts, n.active, s.chosen + 4 * t * n.active, s.mix + 4 * t * n.active, me.one)
        piece = done(counter)
    wait(counter, pieces, s.yields)


@inner
def _rows(w: Record, piece: int, coming: int, me: Record, s: Record, tokens: int, y: int) -> None:
    """A piece of y = w times the input of every token, or of the first ones."""
    first = first_row(w, piece, TILES)
    x, stride = (s.xf, s.xf_bytes) if w.floats else (s.xq, s.xq_bytes)
    rows, then = min(TILES, w.rows - first), start_of(w, coming, TILES, first)
    products(w, first, rows, me.job, x, stride, tokens, y + 4 * first, 4 * w.rows, then)


@inner
def _qkv(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    q, k = pieces_of(layer.q.rows, TILES), pieces_of(layer.k.rows, TILES)
    pieces = q + k + pieces_of(layer.v.rows, TILES)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        if piece < q:
            _rows(layer.q, piece, coming, me, s, s.tokens, s.q)
        elif piece < q + k:
            _rows(layer.k, piece - q, coming - q, me, s, s.tokens, s.k)
        else:
            _rows(layer.v, piece - q - k, coming - q - k, me, s, s.tokens, s.v)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _append(s: Record, n: Record, index: int, counter: int) -> None:
    """Rotate the new keys and store them and the new values. A piece is one kv head."""
    piece = take(counter)
    while piece < n.kv_heads:
        for i in range(s.span_count):
            span = record(s.spans + i * SPAN_BYTES, SPAN_T)
            for j in range(span.count):
                t, position = span.row + j, span.start + j
                page = load_i64(s.pages + 8 * (span.page + position // PAGE))
                at = 4 * (t * n.kv_heads + piece) * n.head_dim
                rotate(s.k + at, s.cos + 4 * t * n.rotated, s.sin + 4 * t * n.rotated, n.rotated)
                store_heads(s.k + at, n, page, index, 0, piece, position % PAGE)
                store_heads(s.v + at, n, page, index, 1, piece, position % PAGE)
        piece = done(counter)
    wait(counter, n.kv_heads, s.yields)


@inner
def _attend(s: Record, n: Record, index: int, me: Record, counter: int) -> None:
    """A piece is one kv head and BLOCK tokens of a span; late tokens, the longest work, come first."""
    offset = 0
    piece = take(counter)
    for i in range(s.span_count):
        span = record(s.spans + i * SPAN_BYTES, SPAN_T)
        blocks = pieces_of(span.count, BLOCK)
        while piece < offset + blocks * n.kv_heads:
            block, head = (piece - offset) // n.kv_heads, (piece - offset) % n.kv_heads
            if span.count == 1:
                _attend_one(s, n, index, me, span, head)
            else:
                _attend_block(s, n, index, me, span, blocks - 1 - block, head)
            piece = done(counter)
        offset += blocks * n.kv_heads
    wait(counter, offset, s.yields)


@inner
def _attend_one(s: Record, n: Record, index: int, me: Record, span: Record, head: int) -> None:
    """All parts of the one token of a span."""
    group, size, t = n.heads // n.kv_heads, n.head_dim, span.row
    parts = parts_of(span.start + 1)
    load_queries(s, n, me, t, head)
    for part in range(parts):
        out, pages = me.results + part * partial_bytes(n), s.pages + 8 * span.page
        attend_part(n, me, index, head, pages, span.start, part, out)
    for g in range(group):
        merge(n, me.results, parts, g, s.mixed + t * s.mixed_bytes + 4 * (head * group + g) * size)


@inner
def _attend_block(s: Record, n: Record, index: int, me: Record, span: Record, block: int, head: int) -> None:
    group, room, size = n.heads // n.kv_heads, n.head_room, n.head_dim
    first, count = block * BLOCK, min(BLOCK, span.count - block * BLOCK)
    job = record(me.attend, ATTEND_T)
    for i in range(count * group):
        t, g = span.row + first + i // group, i % group
        source = s.q + 4 * (t * n.heads + head * group + g) * size
        load_query(source, me.queries + 4 * i * room, s.cos + 4 * t * n.rotated, s.sin + 4 * t * n.rotated, n)
        store_i64(me.limits + 8 * i, span.start + first + i // group)
    job.q, job.queries, job.limits, job.pages = me.queries, count * group, me.limits, s.pages + 8 * span.page
    job.few = False
    job.keys, job.values, job.row = page_offset(n, index, 0, head), page_offset(n, index, 1, head), n.kv_row
    job.p0, job.p1, job.room = 0, span.start + first + count, room
    fours = (count * group + 3) // 4 * 4
    job.o, job.m, job.l = me.results, me.results + 4 * fours * room, me.results + 4 * fours * (room + 1)
    job.scratch = me.scratch
    call1(n.attend, me.attend)
    for i in range(count * group):
        t, g = span.row + first + i // group, i % group
        inverse = np.float32(1) / load_f32(job.l + 4 * i)
        out = s.mixed + t * s.mixed_bytes + 4 * (head * group + g) * size
        for c in range(size):
            store_f32(out + 4 * c, load_f32(job.o + 4 * (i * room + c)) * inverse)


@inner
def _output(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    """Attention's projection, added to x. Two phases: quantize every token, then TILES rows of w a piece."""
    quantizing = counter
    piece, pieces = take(quantizing), pieces_of(s.tokens, SHARE)
    while piece < pieces:
        for t in range(piece * SHARE, min(s.tokens, (piece + 1) * SHARE)):
            quantize(s.mixed + t * s.mixed_bytes, s.xq + t * s.xq_bytes, n.heads * n.head_dim, n.wide)
        piece = done(quantizing)
    wait(quantizing, pieces, s.yields)
    counter += COUNTER
    w = layer.output
    x, stride = (s.mixed, s.mixed_bytes) if w.floats else (s.xq, s.xq_bytes)
    pieces = pieces_of(w.rows, TILES)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        first = piece * TILES
        rows, then = min(TILES, w.rows - first), start_of(w, coming, TILES, first)
        products(w, first, rows, me.job, x, stride, s.tokens, me.gate, 4 * TILES, then)
        for t in range(s.tokens):
            for r in range(rows):
                at = s.x + 4 * (t * n.width + first + r)
                store_f32(at, load_f32(at) + load_f32(me.gate + 4 * (t * TILES + r)))
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _logits(s: Record, n: Record, me: Record, counter: int) -> None:
    """The wanted rows, normed into the first rows of xf and xq, times the output weight."""
    pieces = pieces_of(s.wanted_count, SHARE)
    piece = take(counter)
    while piece < pieces:
        for i in range(piece * SHARE, min(s.wanted_count, (piece + 1) * SHARE)):
            t = load_i32(s.wanted + 4 * i)
            norm(s.x + 4 * t * n.width, n.output_norm, n.width, n.eps, s.xf + i * s.xf_bytes)
            quantize(s.xf + i * s.xf_bytes, s.xq + i * s.xq_bytes, n.width, n.wide)
        piece = done(counter)
    wait(counter, pieces, s.yields)
    counter += COUNTER
    pieces = pieces_of(n.output.rows, TILES)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        _rows(n.output, piece, coming, me, s, s.wanted_count, s.logits)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)
