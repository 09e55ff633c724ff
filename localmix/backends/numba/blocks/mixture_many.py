"""The experts of many tokens: these are grouped by the experts that serve them, so that weights are unpacked once for
all tokens of an expert.
"""

import numpy as np

from localmix.backends.numba.blocks.activation import combine
from localmix.backends.numba.blocks.grouping import (
    all_to_one,
    count_of,
    group_by_expert,
    hidden_pieces,
    in_turn,
    single,
    start_of_turn,
)
from localmix.backends.numba.blocks.routing import choose, logits
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import (
    fma16,
    load_f32,
    load_f32x16,
    load_i32,
    load_i64,
    mul16,
    record,
    splat_f32x16,
    store_f32,
    store_f32x16,
)
from localmix.backends.numba.passes.parts import (
    MIXTURE_T,
    NETWORK_T,
    NOTHING,
    PRIVATE_T,
    STEP_T,
    Record,
    add_rows,
    begun,
    done,
    expert,
    norm,
    pieces_of,
    portion,
    products,
    quantize,
    take,
    tile_rows,
    wait,
)
from localmix.backends.numba.passes.records import COUNTER, TILES
from localmix.backends.numba.products.activations import padded, quantize_at


@native(4)
def mixture(step: int, block: int, thread: int, counter: int) -> None:
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    if single(m):  # phases follow each other to the end, see `begun`
        routed(s, n, m, own, counter + 3 * COUNTER)
        gate_up(s, n, m, own, counter + 4 * COUNTER)
        down(s, n, m, own, counter + 5 * COUNTER)
        return
    routed(s, n, m, own, counter)
    group_by_expert(s, m, counter + COUNTER)  # two phases
    gate_up(s, n, m, own, counter + 3 * COUNTER)
    down(s, n, m, own, counter + 4 * COUNTER)
    add(s, n, m, counter + 5 * COUNTER)


@inner
def routed(s: Record, n: Record, m: Record, own: Record, counter: int) -> None:
    """xf, xq and the experts of every token."""
    each = portion(s.tokens, s.threads)
    piece, pieces = take(counter), pieces_of(s.tokens, each)
    while piece < pieces:
        first, last = piece * each, min(s.tokens, (piece + 1) * each)
        if piece == 0 and single(m):
            all_to_one(s)
        for t in range(first, last):
            norm(s.x + 4 * t * n.width, m.norm, s.xf + t * s.xf_bytes)
            quantize(s.xf + t * s.xf_bytes, s.xq + t * s.xq_bytes, n.width, n.activations)
        if m.router != 0:
            for e in range(0, m.experts, 4):  # rows of the router serve all tokens of a piece while they are near
                for t in range(first, last):
                    end = min(e + 4, m.experts)
                    logits(s.xf + t * s.xf_bytes, m, n.width, e, end, s.scores + 4 * t * m.experts)
        for t in range(first, last):
            slots = 4 * t * m.slots
            x, scores = s.xf + t * s.xf_bytes, s.scores + 4 * t * m.experts
            choose(x, m, n.width, scores, own.two, s.chosen + slots, s.mix + slots)
        piece = done(counter)
    wait(counter, pieces, s.yields)


@inner
def gate_up(s: Record, n: Record, m: Record, own: Record, counter: int) -> None:
    """A piece is TILES hidden columns of one expert, all its tokens: gate, up, activation, and one vector of int8."""
    pieces = load_i64(s.used) * hidden_pieces(m, 0)
    if m.shared and s.shared:
        pieces += hidden_pieces(m, m.experts)
    turn, coming = take(counter), take(counter)
    if begun(counter + COUNTER):  # this thread is late, and what it has read may be of another layer
        return
    inputs, inputs_floats = (s.xq, s.xf) if single(m) else (s.gathered, s.gathered_floats)
    while turn < pieces:
        e, piece = in_turn(s, m, turn, hidden_pieces(m, 0))
        first, start, count = piece * TILES, load_i64(s.starts + 8 * e), count_of(s, e)
        gate, up, down = expert(m.gate, e), expert(m.up, e), expert(m.down, e)
        rows = min(TILES, gate.rows - first)
        x, stride = (inputs_floats, s.xf_bytes) if gate.floats else (inputs, s.xq_bytes)
        then = up.data + first * up.row_bytes
        products(gate, first, rows, own.job, x + start * stride, stride, count, own.gate, 4 * TILES, then)
        x, stride = (inputs_floats, s.xf_bytes) if up.floats else (inputs, s.xq_bytes)
        then = start_of_turn(s, m, m.gate, coming if coming < pieces else turn, hidden_pieces(m, 0), TILES)
        products(up, first, rows, own.job, x + start * stride, stride, count, own.up, 4 * TILES, then)
        for i in range(count):
            floats = s.hidden_floats + (start + i) * s.hidden_floats_bytes + 4 * first if down.floats else own.one
            if not down.floats:
                for c in range(rows, TILES):
                    store_f32(own.one + 4 * c, NOTHING)
            combine(m, own.gate + 4 * i * TILES, own.up + 4 * i * TILES, rows, floats)
            if not down.floats:
                quantize_at(own.one, s.hidden + (start + i) * s.hidden_bytes, padded(gate.rows), first, n.activations)
        turn, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def down(s: Record, n: Record, m: Record, own: Record, counter: int) -> None:
    """A piece is some rows of one expert's down projection, all its tokens. The only one's is added to x."""
    chunk = tile_rows(n.width)
    each = pieces_of(n.width, chunk)
    pieces = (load_i64(s.used) + min(m.shared, s.shared)) * each
    turn, coming = take(counter), take(counter)
    if begun(counter + COUNTER):
        return
    while turn < pieces:
        e, piece = in_turn(s, m, turn, each)
        first = piece * chunk
        w, start = expert(m.down, e), load_i64(s.starts + 8 * e)
        x, stride = (s.hidden_floats, s.hidden_floats_bytes) if w.floats else (s.hidden, s.hidden_bytes)
        y, y_stride, rows = s.outs + 4 * (start * n.width + first), 4 * n.width, min(chunk, n.width - first)
        if single(m):
            y, y_stride = own.gate, 4 * TILES
        then = start_of_turn(s, m, m.down, coming if coming < pieces else turn, each, chunk)
        products(w, first, rows, own.job, x + start * stride, stride, count_of(s, e), y, y_stride, then)
        if single(m):
            for t in range(s.tokens):
                add_rows(y + t * y_stride, m.residual, rows, s.x + 4 * (t * n.width + first))
        turn, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def add(s: Record, n: Record, m: Record, counter: int) -> None:
    """x += the weighted sum of each token's experts, added up as for one token."""
    each, residual = portion(s.tokens, s.threads), np.float32(m.residual)
    piece, pieces = take(counter), pieces_of(s.tokens, each)
    while piece < pieces:
        for t in range(piece * each, min(s.tokens, (piece + 1) * each)):
            x, slots = s.x + 4 * t * n.width, range(t * m.slots, (t + 1) * m.slots)
            whole = n.width // 16 * 16
            for c in range(0, whole, 16):
                total = splat_f32x16(NOTHING)
                for i in slots:
                    out, share = s.outs + 4 * load_i32(s.place + 4 * i) * n.width, load_f32(s.mix + 4 * i)
                    total = fma16(load_f32x16(out + 4 * c), splat_f32x16(share), total)
                total = mul16(total, splat_f32x16(residual))
                store_f32x16(x + 4 * c, fma16(total, splat_f32x16(np.float32(1)), load_f32x16(x + 4 * c)))
            for c in range(whole, n.width):
                rest = NOTHING
                for i in slots:
                    out = s.outs + 4 * load_i32(s.place + 4 * i) * n.width
                    rest += load_f32(out + 4 * c) * load_f32(s.mix + 4 * i)
                store_f32(x + 4 * c, load_f32(x + 4 * c) + rest * residual)
        piece = done(counter)
    wait(counter, pieces, s.yields)
