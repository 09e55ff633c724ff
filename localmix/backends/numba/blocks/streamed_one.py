"""The experts of one token in parts, between which their weights may come from the disk: the choice; of the slots that
`used` lists, gate and up, then down; and at last the sum. Numbers are those of mixture_one.py, to the last bit.
"""

from localmix.backends.numba.blocks.mixture_one import hidden_rows, scores, scores_of
from localmix.backends.numba.blocks.routing import choose
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import load_f32, load_i32, load_i64, record
from localmix.backends.numba.passes.parts import (
    MIXTURE_T,
    NETWORK_T,
    PRIVATE_T,
    STEP_T,
    WEIGHT_T,
    Record,
    add_rows,
    add_scaled,
    copy_rows,
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


@native(4)
def route(step: int, block: int, thread: int, counter: int) -> None:
    """chosen and mix."""
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    norm(s.x, m.norm, own.xf)
    scores(s, n, m, own, counter)
    if take(counter + COUNTER) == 0:
        choose(own.xf, m, n.width, scores_of(s, n, m, own), own.two, s.chosen, s.mix)
        done(counter + COUNTER)
    wait(counter + COUNTER, 1, s.yields)


@native(4)
def gate_up(step: int, block: int, thread: int, counter: int) -> None:
    """The hidden states of the listed slots."""
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    norm(s.x, m.norm, own.xf)
    quantize(own.xf, own.xq, n.width, n.activations)
    piece, coming = take(counter), take(counter)
    offset = 0
    for i in range(load_i64(s.used)):
        slot = _listed(s, i)
        e = load_i32(s.chosen + 4 * slot)
        gate = expert(m.gate, e)
        pieces = pieces_of(gate.rows, gate.chunk)
        while piece < offset + pieces:
            first = (piece - offset) * gate.chunk
            then = start_of(gate, coming - offset, gate.chunk, first)
            hidden_rows(s, m, own, slot, e, first, min(gate.chunk, gate.rows - first), then)
            piece, coming = coming, done(counter)
        offset += pieces
    wait(counter, offset, s.yields)


@native(4)
def down(step: int, block: int, thread: int, counter: int) -> None:
    """outs of the listed slots."""
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    piece, coming = take(counter), take(counter)
    offset = 0
    for i in range(load_i64(s.used)):
        slot = _listed(s, i)
        w = expert(m.down, load_i32(s.chosen + 4 * slot))
        pieces = pieces_of(n.width, w.chunk)
        floats, quantized = s.hidden_floats + slot * s.hidden_floats_bytes, own.hidden + slot * own.hidden_bytes
        if piece < offset + pieces:
            quantize(floats, quantized, w.width, n.activations)
        while piece < offset + pieces:
            first = (piece - offset) * w.chunk
            rows, then = min(w.chunk, n.width - first), start_of(w, coming - offset, w.chunk, first)
            product(w, first, rows, own.job, floats, quantized, own.one, then)
            copy_rows(own.one, 0, rows, 1, s.outs + 4 * (slot * n.width + first), 0)
            piece, coming = coming, done(counter)
        offset += pieces
    wait(counter, offset, s.yields)


@native(4)
def add(step: int, block: int, thread: int, counter: int) -> None:
    """x += the weighted sum of all slots, in their order."""
    s, m = record(step, STEP_T), record(block, MIXTURE_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    chunk = record(m.down, WEIGHT_T).chunk
    pieces = pieces_of(n.width, chunk)
    piece = take(counter)
    while piece < pieces:
        first = piece * chunk
        rows = min(chunk, n.width - first)
        for slot in range(m.slots):
            out = s.outs + 4 * (slot * n.width + first)
            add_scaled(out, load_f32(s.mix + 4 * slot), rows, own.two, slot == 0)
        add_rows(own.two, m.residual, rows, s.x + 4 * first)
        piece = done(counter)
    wait(counter, pieces, s.yields)


@inner
def _listed(s: Record, i: int) -> int:
    return load_i64(s.used + 8 * (1 + i))
