"""Attention of one token of one sequence, in three phases: queries, keys and values; attention; its projection.

What is cheap (norms, quantizing) every thread does for itself, which saves a phase and a wait. A thread that comes late
to a phase may prepare from buffers that are already written again: then it finds no piece to take, and what it prepared
must not outlive the phase.
"""

from localmix.backends.numba.attend.parts import (
    attend_part,
    load_queries,
    merge,
    partial_bytes,
    parts_of,
    start_of_part,
)
from localmix.backends.numba.blocks.heads import keep, page_offset, pages_of
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import load_i64, prefetch, record
from localmix.backends.numba.passes.parts import (
    ATTENTION_T,
    NETWORK_T,
    PRIVATE_T,
    SPAN_T,
    STEP_T,
    Record,
    add_rows,
    done,
    norm,
    part_of_rows,
    pieces_of,
    product,
    quantize,
    start_of,
    take,
    wait,
)
from localmix.backends.numba.passes.records import COUNTER, EARLY
from localmix.engine.cache import PAGE


@native(4)
def attention(step: int, block: int, thread: int, counter: int) -> None:
    s, a = record(step, STEP_T), record(block, ATTENTION_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    _qkv(s, n, a, own, counter)
    _attend(s, n, a, own, counter + COUNTER)
    _output(s, n, a, own, counter + 2 * COUNTER)


@inner
def _qkv(s: Record, n: Record, a: Record, own: Record, counter: int) -> None:
    norm(s.x, a.norm, own.xf)
    quantize(own.xf, own.xq, n.width, n.activations)
    q, k = pieces_of(a.q.rows, a.q.chunk), pieces_of(a.k.rows, a.k.chunk)
    pieces = q + k + pieces_of(a.v.rows, a.v.chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        if piece < q:
            part_of_rows(a.q, piece, coming, own, s.q)
        elif piece < q + k:
            part_of_rows(a.k, piece - q, coming - q, own, s.k)
        else:
            part_of_rows(a.v, piece - q - k, coming - q - k, own, s.v)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _attend(s: Record, n: Record, a: Record, own: Record, counter: int) -> None:
    """A piece is one kv head and a part of the positions; the last one also stores the new key and value."""
    span = record(s.spans, SPAN_T)
    pages, position = pages_of(s, a, span), span.start
    parts = parts_of(a, position)
    piece = take(counter)
    while piece < a.kv_heads * parts:
        head, part = piece // parts, piece % parts
        first = load_i64(pages + 8 * (start_of_part(a, position, part) // PAGE))
        ask_for(first + page_offset(a, 0, head), EARLY * a.kv_row)
        ask_for(first + page_offset(a, 1, head), EARLY * a.kv_row)
        if part == parts - 1:
            keep(s, n, a, 0, head, load_i64(pages + 8 * (position // PAGE)), position % PAGE, own.key)
        load_queries(s, a, own, 0, head)
        attend_part(a, own, head, pages, position, part, s.partials + piece * partial_bytes(a))
        piece = done(counter)
    wait(counter, a.kv_heads * parts, s.yields)


@inner
def ask_for(start: int, size: int) -> None:
    for at in range(start, start + size, 64):
        prefetch(at)


@inner
def _output(s: Record, n: Record, a: Record, own: Record, counter: int) -> None:
    """Put the parts of each head together, in every thread; then rows of the projection, added to x."""
    parts, group = parts_of(a, record(s.spans, SPAN_T).start), a.heads // a.kv_heads
    for h in range(a.heads):
        merge(a, s.partials + h // group * parts * partial_bytes(a), parts, h, own.xf + 4 * h * a.size)
    w = a.output
    quantize(own.xf, own.xq, w.width, n.activations)
    pieces = pieces_of(w.rows, w.chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        first = piece * w.chunk
        rows = min(w.chunk, w.rows - first)
        product(w, first, rows, own.job, own.xf, own.xq, own.one, start_of(w, coming, w.chunk, first))
        add_rows(own.one, a.residual, rows, s.x + 4 * first)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)
