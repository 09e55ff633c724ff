"""The forward pass of many tokens, of one sequence or of several: tokens are grouped by expert, and each weight is
unpacked once for all its tokens. Phases as in decoding, but what decoding repeats in each thread is shared here.
"""

import numpy as np

from localmix.backends.numba.activations import padded
from localmix.backends.numba.compiler import inner
from localmix.backends.numba.control import call1
from localmix.backends.numba.decode import LAYER_BYTES, WEIGHT_BYTES, combine
from localmix.backends.numba.layout import BLOCK, SPAN, TILES
from localmix.backends.numba.native import native
from localmix.backends.numba.one_token import attend_part, load_query, merge, part_size, partial_bytes
from localmix.backends.numba.parts import (
    ATTEND_T,
    COUNTER,
    LAYER_T,
    NETWORK_T,
    NOTHING,
    PRIVATE_T,
    SPAN_T,
    STEP_T,
    WEIGHT_T,
    Record,
    done,
    first_row,
    norm,
    page_offset,
    pieces_of,
    products,
    quantize,
    quantize_at,
    rotate,
    route,
    start_of,
    store_heads,
    take,
    wait,
)
from localmix.backends.numba.simd import (
    copy,
    fma16,
    load_f32,
    load_f32x16,
    load_i32,
    load_i64,
    record,
    splat_f32x16,
    store_f32,
    store_f32x16,
    store_i32,
    store_i64,
)
from localmix.cache import PAGE

SPAN_BYTES = SPAN.itemsize
PHASES = 12  # of a layer
SHARE = 8  # tokens of one piece where the work is a token's own


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
        _group(s, n, layer, counter + 7 * COUNTER)  # two phases
        _gate_up(s, n, layer, me, counter + 9 * COUNTER)
        _down(s, n, layer, me, counter + 10 * COUNTER)
        _add(s, n, counter + 11 * COUNTER)
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
    parts = pieces_of(span.start + 1, part_size(span.start + 1))
    cos, sin = s.cos + 4 * t * n.rotated, s.sin + 4 * t * n.rotated
    for g in range(group):
        load_query(s.q + 4 * (t * n.heads + head * group + g) * size, me.queries + 4 * g * n.head_room, cos, sin, n)
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
def _group(s: Record, n: Record, layer: Record, counter: int) -> None:
    """Slots in order of expert, then of token: a counting sort by one thread; then inputs gathered by all."""
    piece = take(counter)
    if piece == 0:
        for e in range(n.experts + 1):
            store_i64(s.starts + 8 * e, 0)
        for i in range(s.tokens * n.active):
            e = load_i32(s.chosen + 4 * i) + 1
            store_i64(s.starts + 8 * e, load_i64(s.starts + 8 * e) + 1)
        for e in range(n.experts):
            store_i64(s.starts + 8 * (e + 1), load_i64(s.starts + 8 * (e + 1)) + load_i64(s.starts + 8 * e))
        for i in range(s.tokens * n.active):
            e = load_i32(s.chosen + 4 * i)
            slot = load_i64(s.starts + 8 * e)
            store_i64(s.starts + 8 * e, slot + 1)
            store_i32(s.order + 4 * slot, i // n.active)
            store_i32(s.place + 4 * i, slot)
        for e in range(n.experts, 0, -1):
            store_i64(s.starts + 8 * e, load_i64(s.starts + 8 * (e - 1)))
        store_i64(s.starts, 0)
        done(counter)
    wait(counter, 1, s.yields)
    gathering = counter + COUNTER
    of_gate, of_up = _expert(layer.gate, 0).floats, _expert(layer.up, 0).floats
    slots = s.tokens * n.active
    pieces = pieces_of(slots, SHARE)
    piece = take(gathering)
    while piece < pieces:
        for slot in range(piece * SHARE, min(slots, (piece + 1) * SHARE)):
            t = load_i32(s.order + 4 * slot)
            if of_gate or of_up:
                copy(s.gathered_floats + slot * s.xf_bytes, s.xf + t * s.xf_bytes, s.xf_bytes)
            if not of_gate or not of_up:
                copy(s.gathered + slot * s.xq_bytes, s.xq + t * s.xq_bytes, s.xq_bytes)
        piece = done(gathering)
    wait(gathering, pieces, s.yields)


@inner
def _gate_up(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    """A piece is TILES hidden columns of one expert, all its tokens: gate, up, SiLU, and one vector of int8."""
    each = pieces_of(n.hidden, TILES)
    pieces = n.experts * each
    piece = _with_tokens(s, take(counter), each, pieces, counter)
    coming = _with_tokens(s, take(counter), each, pieces, counter)
    while piece < pieces:
        e, first = piece // each, piece % each * TILES
        rows = min(TILES, n.hidden - first)
        start, count = load_i64(s.starts + 8 * e), _count(s, e)
        gate, up, down = _expert(layer.gate, e), _expert(layer.up, e), _expert(layer.down, e)
        x, stride = (s.gathered_floats, s.xf_bytes) if gate.floats else (s.gathered, s.xq_bytes)
        then = up.data + first * up.row_bytes
        products(gate, first, rows, me.job, x + start * stride, stride, count, me.gate, 4 * TILES, then)
        x, stride = (s.gathered_floats, s.xf_bytes) if up.floats else (s.gathered, s.xq_bytes)
        then = _start_of(layer.gate, coming if coming < pieces else piece, each)
        products(up, first, rows, me.job, x + start * stride, stride, count, me.up, 4 * TILES, then)
        for i in range(count):
            floats = s.hidden_floats + (start + i) * s.hidden_floats_bytes + 4 * first if down.floats else me.one
            if not down.floats:
                for c in range(rows, TILES):
                    store_f32(me.one + 4 * c, NOTHING)
            combine(me.gate + 4 * i * TILES, me.up + 4 * i * TILES, rows, floats)
            if not down.floats:
                quantize_at(me.one, s.hidden + (start + i) * s.hidden_bytes, padded(n.hidden), first, n.wide)
        piece, coming = coming, _with_tokens(s, done(counter), each, pieces, counter)
    wait(counter, pieces, s.yields)


@inner
def _expert(table: int, e: int) -> Record:
    """An expert's weight, of a table of all experts'."""
    return record(table + e * WEIGHT_BYTES, WEIGHT_T)


@inner
def _count(s: Record, e: int) -> int:
    """How many tokens an expert has."""
    return load_i64(s.starts + 8 * e + 8) - load_i64(s.starts + 8 * e)


@inner
def _with_tokens(s: Record, piece: int, each: int, pieces: int, counter: int) -> int:
    """This piece, or the next one whose expert has tokens; what is passed over is done."""
    while piece < pieces and _count(s, piece // each) == 0:
        piece = done(counter)
    return piece


@inner
def _start_of(table: int, piece: int, each: int) -> int:
    """Where a piece of the experts' weights begins, of which each expert has as many."""
    return start_of(_expert(table, piece // each), piece % each, TILES, 0)


@inner
def _down(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    """A piece is TILES rows of one expert's down projection, all its tokens."""
    each = pieces_of(n.width, TILES)
    pieces = n.experts * each
    piece = _with_tokens(s, take(counter), each, pieces, counter)
    coming = _with_tokens(s, take(counter), each, pieces, counter)
    while piece < pieces:
        e, first = piece // each, piece % each * TILES
        w, start = _expert(layer.down, e), load_i64(s.starts + 8 * e)
        x, stride = (s.hidden_floats, s.hidden_floats_bytes) if w.floats else (s.hidden, s.hidden_bytes)
        y, rows = s.outs + 4 * (start * n.width + first), min(TILES, n.width - first)
        then = _start_of(layer.down, coming if coming < pieces else piece, each)
        products(w, first, rows, me.job, x + start * stride, stride, _count(s, e), y, 4 * n.width, then)
        piece, coming = coming, _with_tokens(s, done(counter), each, pieces, counter)
    wait(counter, pieces, s.yields)


@inner
def _add(s: Record, n: Record, counter: int) -> None:
    """x += the weighted sum of each token's experts, added up as decoding does."""
    pieces = pieces_of(s.tokens, SHARE)
    piece = take(counter)
    while piece < pieces:
        for t in range(piece * SHARE, min(s.tokens, (piece + 1) * SHARE)):
            x, each = s.x + 4 * t * n.width, range(t * n.active, (t + 1) * n.active)
            whole = n.width // 16 * 16
            for c in range(0, whole, 16):
                total = splat_f32x16(NOTHING)
                for i in each:
                    out, weight = s.outs + 4 * load_i32(s.place + 4 * i) * n.width, load_f32(s.mix + 4 * i)
                    total = fma16(load_f32x16(out + 4 * c), splat_f32x16(weight), total)
                store_f32x16(x + 4 * c, fma16(total, splat_f32x16(np.float32(1)), load_f32x16(x + 4 * c)))
            for c in range(whole, n.width):
                rest = NOTHING
                for i in each:
                    out = s.outs + 4 * load_i32(s.place + 4 * i) * n.width
                    rest += load_f32(out + 4 * c) * load_f32(s.mix + 4 * i)
                store_f32(x + 4 * c, load_f32(x + 4 * c) + rest)
        piece = done(counter)
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
