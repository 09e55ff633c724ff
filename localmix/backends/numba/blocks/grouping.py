"""Tokens in the order of the experts that serve them, and experts in the order in which they are computed."""

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.words import copy, load_i32, load_i64, store_i32, store_i64
from localmix.backends.numba.passes.parts import Record, done, expert, pieces_of, portion, start_of, take, wait
from localmix.backends.numba.passes.records import COUNTER, TILES


@inner
def single(m: Record) -> bool:
    """Whether one expert serves all tokens."""
    return m.experts + m.shared == 1


@inner
def all_to_one(s: Record) -> None:
    """The tables where one expert serves all tokens, whose inputs are in order as they are."""
    store_i64(s.starts, 0)
    store_i64(s.starts + 8, s.tokens)
    store_i64(s.used, 1)
    store_i64(s.used + 8, 0)
    for t in range(s.tokens):
        store_i32(s.order + 4 * t, t)


@inner
def group_by_expert(s: Record, m: Record, counter: int) -> None:
    """Slots in order of expert, then of token: a counting sort by one thread; then inputs gathered by all."""
    slots = s.tokens * m.slots
    piece = take(counter)
    if piece == 0:
        _sort(s, m.experts + m.shared, slots, m.slots)
        _sort_used(s, m)
        done(counter)
    wait(counter, 1, s.yields)
    gathering = counter + COUNTER
    floats, quantized = _inputs(m)
    each = portion(slots, s.threads)
    piece, pieces = take(gathering), pieces_of(slots, each)
    while piece < pieces:
        for slot in range(piece * each, min(slots, (piece + 1) * each)):
            t = load_i32(s.order + 4 * slot)
            if floats:
                copy(s.gathered_floats + slot * s.xf_bytes, s.xf + t * s.xf_bytes, s.xf_bytes)
            if quantized:
                copy(s.gathered + slot * s.xq_bytes, s.xq + t * s.xq_bytes, s.xq_bytes)
        piece = done(gathering)
    wait(gathering, pieces, s.yields)


@inner
def _sort(s: Record, experts: int, slots: int, each: int) -> None:
    """starts, order and place: see records.py."""
    for e in range(experts + 1):
        store_i64(s.starts + 8 * e, 0)
    for i in range(slots):
        e = load_i32(s.chosen + 4 * i) + 1
        store_i64(s.starts + 8 * e, load_i64(s.starts + 8 * e) + 1)
    for e in range(experts):
        store_i64(s.starts + 8 * (e + 1), load_i64(s.starts + 8 * (e + 1)) + load_i64(s.starts + 8 * e))
    for i in range(slots):
        e = load_i32(s.chosen + 4 * i)
        slot = load_i64(s.starts + 8 * e)
        store_i64(s.starts + 8 * e, slot + 1)
        store_i32(s.order + 4 * slot, i // each)
        store_i32(s.place + 4 * i, slot)
    for e in range(experts, 0, -1):
        store_i64(s.starts + 8 * e, load_i64(s.starts + 8 * (e - 1)))
    store_i64(s.starts, 0)


@inner
def _sort_used(s: Record, m: Record) -> None:
    """The table of the experts that have tokens, the shared one left out: see records.py."""
    used = 0
    for e in range(m.experts):
        if count_of(s, e) > 0:
            at = used
            while at > 0 and count_of(s, load_i64(s.used + 8 * at)) > count_of(s, e):
                store_i64(s.used + 8 * (at + 1), load_i64(s.used + 8 * at))
                at -= 1
            store_i64(s.used + 8 * (at + 1), e)
            used += 1
    store_i64(s.used, used)


@inner
def _inputs(m: Record) -> tuple[bool, bool]:
    """Whether some experts take floats, and whether some take quantized activations."""
    floats = quantized = False
    for e in range(m.experts + m.shared):
        gate, up = expert(m.gate, e), expert(m.up, e)
        floats = floats or gate.floats != 0 or up.floats != 0
        quantized = quantized or gate.floats == 0 or up.floats == 0
    return floats, quantized


@inner
def count_of(s: Record, e: int) -> int:
    """How many tokens an expert has."""
    return load_i64(s.starts + 8 * e + 8) - load_i64(s.starts + 8 * e)


@inner
def hidden_pieces(m: Record, e: int) -> int:
    """How many pieces the hidden columns of an expert make."""
    return pieces_of(expert(m.gate, e).rows, TILES)


@inner
def in_turn(s: Record, m: Record, turn: int, each: int) -> tuple[int, int]:
    """The expert and its piece: those of the expert with fewest tokens and of the one with most come alternately, then
    those of the next two. The former wait for memory, the latter for the units that multiply: both are in use.

    `each` is the number of pieces of an expert; the shared one, which may have another, is the last.
    """
    used = load_i64(s.used)
    if turn >= used * each:
        return m.experts, turn - used * each
    pair, inside = turn // (2 * each), turn % (2 * each)
    if 2 * pair + 1 == used:  # the one in the middle
        return load_i64(s.used + 8 * (1 + pair)), inside
    at = pair if inside % 2 == 0 else used - 1 - pair
    return load_i64(s.used + 8 * (1 + at)), inside // 2


@inner
def start_of_turn(s: Record, m: Record, table: int, turn: int, each: int, rows: int) -> int:
    """Where the weights of a turn begin, which has so many rows."""
    e, piece = in_turn(s, m, turn, each)
    return start_of(expert(table, e), piece, rows, 0)
