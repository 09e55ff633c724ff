"""The experts of one token, in three phases: the scores of many experts, gate and up, down. Every weight is read once,
in the order of use.

The experts chosen are shared by those threads that have a piece: one that comes late may see the wrong ones, see
attention_one.py.
"""

from typing import Any

from localmix.backends.numba.blocks.activation import combine
from localmix.backends.numba.blocks.routing import choose, logits
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import load_f32, load_i32, record, store_f32, store_i32
from localmix.backends.numba.passes.parts import (
    MIXTURE_T,
    NETWORK_T,
    PRIVATE_T,
    STEP_T,
    WEIGHT_T,
    Record,
    add_rows,
    add_scaled,
    done,
    expert,
    norm,
    pieces_of,
    product,
    quantize,
    start_of,
    take,
    wait,
)
from localmix.backends.numba.passes.records import COUNTER

ROUTER = 64 << 10  # numbers of a router from which on threads share its rows: before, a wait costs more
ROWS = 16  # of the router that are a piece


@native(4)
def mixture(step: int, block: int, thread: int, counter: int) -> None:
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    norm(s.x, m.norm, own.xf)
    scores(s, n, m, own, counter)
    _gate_up(s, n, m, own, counter + COUNTER)
    _down(s, n, m, own, counter + 2 * COUNTER)


@inner
def scores(s: Record, n: Record, m: Record, own: Record, counter: int) -> None:
    """Into s.scores by all threads together, or into own.one by each."""
    if m.router == 0:
        return
    if m.experts * n.width < ROUTER:
        logits(own.xf, m, n.width, 0, m.experts, own.one)
        return
    pieces = pieces_of(m.experts, ROWS)
    piece = take(counter)
    while piece < pieces:
        logits(own.xf, m, n.width, piece * ROWS, min(m.experts, (piece + 1) * ROWS), s.scores)
        piece = done(counter)
    wait(counter, pieces, s.yields)


@inner
def scores_of(s: Record, n: Record, m: Record, own: Record) -> Any:
    """Where `scores` left them."""
    return own.one if m.experts * n.width < ROUTER else s.scores


@inner
def _gate_up(s: Record, n: Record, m: Record, own: Record, counter: int) -> None:
    choose(own.xf, m, n.width, scores_of(s, n, m, own), own.two, own.chosen, own.mix)
    quantize(own.xf, own.xq, n.width, n.activations)
    each, chunk = pieces_of(_hidden(m, 0), _chunk(m, 0)), _chunk(m, 0)
    routed = m.active * each
    pieces = routed + (pieces_of(_hidden(m, m.experts), _chunk(m, m.experts)) if m.shared else 0)
    piece, coming = take(counter), take(counter)
    if piece < pieces:  # several threads may write, all the same
        for slot in range(m.slots):
            store_i32(s.chosen + 4 * slot, load_i32(own.chosen + 4 * slot))
            store_f32(s.mix + 4 * slot, load_f32(own.mix + 4 * slot))
    while piece < pieces:
        slot = min(piece // each, m.active)
        e = load_i32(own.chosen + 4 * slot)
        rows_of_piece = chunk if slot < m.active else _chunk(m, m.experts)
        first = (piece - slot * each) * rows_of_piece
        gate = expert(m.gate, e)
        rows = min(rows_of_piece, gate.rows - first)
        then = gate.data + first * gate.row_bytes
        if coming < pieces:
            later = min(coming // each, m.active)
            after = expert(m.gate, load_i32(own.chosen + 4 * later))
            then = start_of(after, coming - later * each, chunk if later < m.active else rows_of_piece, 0)
        hidden_rows(s, m, own, slot, e, first, rows, then)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def hidden_rows(s: Record, m: Record, own: Record, slot: int, e: int, first: int, rows: int, then: int) -> None:
    """Rows first.. of the hidden state of a slot, which expert e serves; `then` as for a product."""
    gate, up = expert(m.gate, e), expert(m.up, e)
    product(gate, first, rows, own.job, own.xf, own.xq, own.one, up.data + first * up.row_bytes)
    product(up, first, rows, own.job, own.xf, own.xq, own.two, then)
    combine(m, own.one, own.two, rows, s.hidden_floats + slot * s.hidden_floats_bytes + 4 * first)


@inner
def _hidden(m: Record, e: int) -> int:
    return expert(m.gate, e).rows


@inner
def _chunk(m: Record, e: int) -> int:
    return expert(m.gate, e).chunk


@inner
def _down(s: Record, n: Record, m: Record, own: Record, counter: int) -> None:
    for slot in range(m.slots):
        hidden = _hidden(m, 0 if slot < m.active else m.experts)
        quantize(
            s.hidden_floats + slot * s.hidden_floats_bytes, own.hidden + slot * own.hidden_bytes, hidden, n.activations
        )
    chunk = record(m.down, WEIGHT_T).chunk
    pieces = pieces_of(n.width, chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        first = piece * chunk
        rows = min(chunk, n.width - first)
        for slot in range(m.slots):
            down = expert(m.down, load_i32(s.chosen + 4 * slot))
            after = expert(m.down, load_i32(s.chosen + 4 * ((slot + 1) % m.slots)))
            then = start_of(after, piece if slot + 1 < m.slots else coming, chunk, first)
            floats = s.hidden_floats + slot * s.hidden_floats_bytes
            product(down, first, rows, own.job, floats, own.hidden + slot * own.hidden_bytes, own.one, then)
            add_scaled(own.one, load_f32(s.mix + 4 * slot), rows, own.two, slot == 0)
        add_rows(own.two, m.residual, rows, s.x + 4 * first)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)
