"""The experts' part of a layer for many tokens: they are grouped by the experts that they chose, so that weights are
unpacked once for all tokens of an expert.
"""

import numpy as np

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import (
    copy,
    fma16,
    load_f32,
    load_f32x16,
    load_i32,
    load_i64,
    splat_f32x16,
    store_f32,
    store_f32x16,
    store_i32,
    store_i64,
)
from localmix.backends.numba.passes.decode import combine
from localmix.backends.numba.passes.layout import TILES
from localmix.backends.numba.passes.parts import (
    COUNTER,
    NOTHING,
    Record,
    done,
    expert,
    pieces_of,
    products,
    quantize_at,
    start_of,
    take,
    wait,
)
from localmix.backends.numba.products.activations import padded

SHARE = 8  # tokens of one piece where the work is a token's own


@inner
def group_by_expert(s: Record, n: Record, layer: Record, counter: int) -> None:
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
        _sort_used(s, n)
        done(counter)
    wait(counter, 1, s.yields)
    gathering = counter + COUNTER
    of_gate, of_up = expert(layer.gate, 0).floats, expert(layer.up, 0).floats
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
def _sort_used(s: Record, n: Record) -> None:
    """The table of the experts that have tokens: see layout.py."""
    used = 0
    for e in range(n.experts):
        if _count(s, e) > 0:
            at = used
            while at > 0 and _count(s, load_i64(s.used + 8 * at)) > _count(s, e):
                store_i64(s.used + 8 * (at + 1), load_i64(s.used + 8 * at))
                at -= 1
            store_i64(s.used + 8 * (at + 1), e)
            used += 1
    store_i64(s.used, used)


@inner
def gate_up(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    """A piece is TILES hidden columns of one expert, all its tokens: gate, up, SiLU, and one vector of int8."""
    each = pieces_of(n.hidden, TILES)
    pieces = load_i64(s.used) * each
    turn, coming = take(counter), take(counter)
    while turn < pieces:
        e, piece = _in_turn(s, turn, each)
        first = piece * TILES
        rows = min(TILES, n.hidden - first)
        start, count = load_i64(s.starts + 8 * e), _count(s, e)
        gate, up, down = expert(layer.gate, e), expert(layer.up, e), expert(layer.down, e)
        x, stride = (s.gathered_floats, s.xf_bytes) if gate.floats else (s.gathered, s.xq_bytes)
        then = up.data + first * up.row_bytes
        products(gate, first, rows, me.job, x + start * stride, stride, count, me.gate, 4 * TILES, then)
        x, stride = (s.gathered_floats, s.xf_bytes) if up.floats else (s.gathered, s.xq_bytes)
        then = _start_of(s, layer.gate, coming if coming < pieces else turn, each)
        products(up, first, rows, me.job, x + start * stride, stride, count, me.up, 4 * TILES, then)
        for i in range(count):
            floats = s.hidden_floats + (start + i) * s.hidden_floats_bytes + 4 * first if down.floats else me.one
            if not down.floats:
                for c in range(rows, TILES):
                    store_f32(me.one + 4 * c, NOTHING)
            combine(me.gate + 4 * i * TILES, me.up + 4 * i * TILES, rows, floats)
            if not down.floats:
                quantize_at(me.one, s.hidden + (start + i) * s.hidden_bytes, padded(n.hidden), first, n.wide)
        turn, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _count(s: Record, e: int) -> int:
    """How many tokens an expert has."""
    return load_i64(s.starts + 8 * e + 8) - load_i64(s.starts + 8 * e)


@inner
def _in_turn(s: Record, turn: int, each: int) -> tuple[int, int]:
    """The expert and its piece: those of the expert with fewest tokens and of the one with most come alternately, then
    those of the next two. The former wait for memory, the latter for the units that multiply: both are in use.
    """
    used = load_i64(s.used)
    pair, inside = turn // (2 * each), turn % (2 * each)
    if 2 * pair + 1 == used:  # the one in the middle
        return load_i64(s.used + 8 * (1 + pair)), inside
    at = pair if inside % 2 == 0 else used - 1 - pair
    return load_i64(s.used + 8 * (1 + at)), inside // 2


@inner
def _start_of(s: Record, table: int, turn: int, each: int) -> int:
    """Where the weights of a turn begin."""
    e, piece = _in_turn(s, turn, each)
    return start_of(expert(table, e), piece, TILES, 0)


@inner
def down(s: Record, n: Record, layer: Record, me: Record, counter: int) -> None:
    """A piece is TILES rows of one expert's down projection, all its tokens."""
    each = pieces_of(n.width, TILES)
    pieces = load_i64(s.used) * each
    turn, coming = take(counter), take(counter)
    while turn < pieces:
        e, piece = _in_turn(s, turn, each)
        first = piece * TILES
        w, start = expert(layer.down, e), load_i64(s.starts + 8 * e)
        x, stride = (s.hidden_floats, s.hidden_floats_bytes) if w.floats else (s.hidden, s.hidden_bytes)
        y, rows = s.outs + 4 * (start * n.width + first), min(TILES, n.width - first)
        then = _start_of(s, layer.down, coming if coming < pieces else turn, each)
        products(w, first, rows, me.job, x + start * stride, stride, _count(s, e), y, 4 * n.width, then)
        turn, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def add(s: Record, n: Record, counter: int) -> None:
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
