"""The forward pass of one token of one sequence: five phases a layer, every weight read once, in order of use.

What is cheap (norms, quantizing, routing) every thread does for itself, which saves a phase and a wait. A thread that
comes late to a phase may prepare from buffers that are already written again: then it finds no piece to take, and what
it prepared must not outlive the phase. So the experts chosen are shared by those that have a piece.
"""

from localmix.backends.numba.attend.one_token import (
    attend_part,
    load_queries,
    merge,
    part_size,
    partial_bytes,
    parts_of,
)
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.simd import (
    load_f32,
    load_f32x16,
    load_i32,
    load_i64,
    prefetch,
    record,
    store_f32,
    store_f32x16,
    store_i32,
    swiglu16,
)
from localmix.backends.numba.passes.layout import EARLY, LAYER
from localmix.backends.numba.passes.parts import (
    COUNTER,
    LAYER_T,
    NETWORK_T,
    NOTHING,
    PRIVATE_T,
    SPAN_T,
    STEP_T,
    WEIGHT_T,
    Record,
    add_scaled,
    done,
    expert,
    first_row,
    norm,
    page_offset,
    pieces_of,
    product,
    quantize,
    rotate,
    route,
    start_of,
    store_heads,
    take,
    wait,
)
from localmix.engine.cache import PAGE

LAYER_BYTES = LAYER.itemsize


@native(2)
def decode(step: int, thread: int) -> None:
    s = record(step, STEP_T)
    n = record(s.network, NETWORK_T)
    me = record(s.private + thread * s.private_bytes, PRIVATE_T)
    counter = s.counters
    for index in range(s.first, s.last):
        layer = record(n.layers + index * LAYER_BYTES, LAYER_T)
        _qkv(s, n, layer, me, counter)
        _attend(s, n, index, me, counter + COUNTER)
        _output(s, n, layer, me, counter + 2 * COUNTER)
        _gate_up(s, n, layer, me, counter + 3 * COUNTER)
        _down(s, n, layer, me, counter + 4 * COUNTER)
        counter += 5 * COUNTER
    if s.finish:
        norm(s.x, n.output_norm, n.width, n.eps, me.xf)
        quantize(me.xf, me.xq, n.width, n.wide)
        pieces = pieces_of(n.output.rows, n.output.chunk)
        piece, coming = take(counter), take(counter)
        while piece < pieces:
            _part(n.output, piece, coming, me, s.logits)
            piece, coming = coming, done(counter)
        wait(counter, pieces, s.yields)


@inner
def _part(w: Record, piece: int, coming: int, me: Record, y: int) -> None:
    """A piece of y = w times the thread's activations."""
    first = first_row(w, piece, w.chunk)
    then = start_of(w, coming, w.chunk, first)
    product(w, first, min(w.chunk, w.rows - first), me.job, me.xf, me.xq, y + 4 * first, then)


@inner
def _qkv(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    norm(s.x, layer.attn_norm, n.width, n.eps, me.xf)
    quantize(me.xf, me.xq, n.width, n.wide)
    q, k = pieces_of(layer.q.rows, layer.q.chunk), pieces_of(layer.k.rows, layer.k.chunk)
    pieces = q + k + pieces_of(layer.v.rows, layer.v.chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        if piece < q:
            _part(layer.q, piece, coming, me, s.q)
        elif piece < q + k:
            _part(layer.k, piece - q, coming - q, me, s.k)
        else:
            _part(layer.v, piece - q - k, coming - q - k, me, s.v)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _attend(s: Record, n: Record, index: int, me: Record, counter: int) -> None:
    """A piece is one kv head and a part of the positions; the last one also stores the new key and value."""
    span = record(s.spans, SPAN_T)
    pages, position = s.pages + 8 * span.page, span.start
    parts, size = parts_of(position + 1), n.head_dim
    piece = take(counter)
    while piece < n.kv_heads * parts:
        head, part = piece // parts, piece % parts
        first = load_i64(pages + 8 * (part * part_size(position + 1) // PAGE))
        ask_for(first + page_offset(n, index, 0, head), EARLY * n.kv_row)
        ask_for(first + page_offset(n, index, 1, head), EARLY * n.kv_row)
        if part == parts - 1:
            page = load_i64(pages + 8 * (position // PAGE))
            rotate(s.k + 4 * head * size, s.cos, s.sin, n.rotated)
            store_heads(s.k + 4 * head * size, n, page, index, 0, head, position % PAGE)
            store_heads(s.v + 4 * head * size, n, page, index, 1, head, position % PAGE)
        load_queries(s, n, me, 0, head)
        attend_part(n, me, index, head, pages, position, part, s.partials + piece * partial_bytes(n))
        piece = done(counter)
    wait(counter, n.kv_heads * parts, s.yields)


@inner
def ask_for(start: int, size: int) -> None:
    for at in range(start, start + size, 64):
        prefetch(at)


@inner
def _merge(s: Record, n: Record, me: Record) -> None:
    """The parts of each head together: me.xf (H·d)."""
    parts, group = parts_of(record(s.spans, SPAN_T).start + 1), n.heads // n.kv_heads
    for h in range(n.heads):
        partials = s.partials + h // group * parts * partial_bytes(n)
        merge(n, partials, parts, h % group, me.xf + 4 * h * n.head_dim)


@inner
def _output(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    _merge(s, n, me)
    quantize(me.xf, me.xq, n.heads * n.head_dim, n.wide)
    w = layer.output
    pieces = pieces_of(w.rows, w.chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        first = piece * w.chunk
        rows = min(w.chunk, w.rows - first)
        product(w, first, rows, me.job, me.xf, me.xq, me.one, start_of(w, coming, w.chunk, first))
        for r in range(rows):
            at = s.x + 4 * (first + r)
            store_f32(at, load_f32(at) + load_f32(me.one + 4 * r))
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _gate_up(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    norm(s.x, layer.ffn_norm, n.width, n.eps, me.xf)
    route(me.xf, layer.gate_inp, n.width, n.experts, n.active, me.chosen, me.mix, me.one)
    quantize(me.xf, me.xq, n.width, n.wide)
    chunk = record(layer.gate, WEIGHT_T).chunk
    each = pieces_of(n.hidden, chunk)
    piece, coming = take(counter), take(counter)
    if piece < n.active * each:  # several threads may write, all the same
        for slot in range(n.active):
            store_i32(s.chosen + 4 * slot, load_i32(me.chosen + 4 * slot))
            store_f32(s.mix + 4 * slot, load_f32(me.mix + 4 * slot))
    while piece < n.active * each:
        slot, first = piece // each, piece % each * chunk
        rows = min(chunk, n.hidden - first)
        gate, up = _chosen(me.chosen, layer.gate, slot), _chosen(me.chosen, layer.up, slot)
        product(gate, first, rows, me.job, me.xf, me.xq, me.one, up.data + first * up.row_bytes)
        then = gate.data + first * gate.row_bytes
        if coming < n.active * each:
            after = _chosen(me.chosen, layer.gate, coming // each)
            then = start_of(after, coming % each, chunk, 0)
        product(up, first, rows, me.job, me.xf, me.xq, me.two, then)
        combine(me.one, me.two, rows, s.hidden_floats + slot * s.hidden_floats_bytes + 4 * first)
        piece, coming = coming, done(counter)
    wait(counter, n.active * each, s.yields)


@inner
def combine(gate: int, up: int, rows: int, out: int) -> None:
    """out = SiLU(gate) · up; the buffers have room for whole vectors, and out stays zero beyond the rows."""
    for r in range(rows, (rows + 15) // 16 * 16):
        store_f32(gate + 4 * r, NOTHING)
        store_f32(up + 4 * r, NOTHING)
    for r in range(0, rows, 16):
        store_f32x16(out + 4 * r, swiglu16(load_f32x16(gate + 4 * r), load_f32x16(up + 4 * r)))


@inner
def _down(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    for slot in range(n.active):
        quantize(s.hidden_floats + slot * s.hidden_floats_bytes, me.hidden + slot * me.hidden_bytes, n.hidden, n.wide)
    chunk = record(layer.down, WEIGHT_T).chunk
    pieces = pieces_of(n.width, chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        first = piece * chunk
        rows = min(chunk, n.width - first)
        for slot in range(n.active):
            down = _chosen(s.chosen, layer.down, slot)
            after = _chosen(s.chosen, layer.down, (slot + 1) % n.active)
            then = start_of(after, piece if slot + 1 < n.active else coming, chunk, first)
            floats = s.hidden_floats + slot * s.hidden_floats_bytes
            product(down, first, rows, me.job, floats, me.hidden + slot * me.hidden_bytes, me.one, then)
            add_scaled(me.one, load_f32(s.mix + 4 * slot), rows, me.two, slot == 0)
        for r in range(rows):
            at = s.x + 4 * (first + r)
            store_f32(at, load_f32(at) + load_f32(me.two + 4 * r))
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _chosen(chosen: int, table: int, slot: int) -> Record:
    """The weight of the expert chosen for a slot, of a table of all experts' weights."""
    return expert(table, load_i32(chosen + 4 * slot))
