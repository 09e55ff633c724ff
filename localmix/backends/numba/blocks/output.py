"""After the last layer: the norm and the output matrix, for one token and for the wanted ones of many."""

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import load_i32, record
from localmix.backends.numba.passes.parts import (
    NETWORK_T,
    PRIVATE_T,
    STEP_T,
    Record,
    done,
    norm,
    part_of_all_rows,
    part_of_rows,
    pieces_of,
    portion,
    quantize,
    take,
    tile_rows,
    wait,
)
from localmix.backends.numba.passes.records import COUNTER


@native(3)
def output(step: int, thread: int, counter: int) -> None:
    s = record(step, STEP_T)
    n, own = record(s.network, NETWORK_T), record(s.private + thread * s.private_bytes, PRIVATE_T)
    if s.alone:
        _one(s, n, own, counter)
    else:
        _many(s, n, own, counter)


@inner
def _one(s: Record, n: Record, own: Record, counter: int) -> None:
    norm(s.x, n.norm, own.xf)
    quantize(own.xf, own.xq, n.width, n.activations)
    pieces = pieces_of(n.output.rows, n.output.chunk)
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        part_of_rows(n.output, piece, coming, own, s.logits)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)


@inner
def _many(s: Record, n: Record, own: Record, counter: int) -> None:
    """The wanted rows, normed into the first rows of xf and xq, times the output weight."""
    each = portion(s.wanted_count, s.threads)
    piece, pieces = take(counter), pieces_of(s.wanted_count, each)
    while piece < pieces:
        for i in range(piece * each, min(s.wanted_count, (piece + 1) * each)):
            norm(s.x + 4 * load_i32(s.wanted + 4 * i) * n.width, n.norm, s.xf + i * s.xf_bytes)
            quantize(s.xf + i * s.xf_bytes, s.xq + i * s.xq_bytes, n.width, n.activations)
        piece = done(counter)
    wait(counter, pieces, s.yields)
    counter += COUNTER
    pieces = pieces_of(n.output.rows, tile_rows(n.output.rows))
    piece, coming = take(counter), take(counter)
    while piece < pieces:
        part_of_all_rows(n.output, piece, coming, own, s, s.wanted_count, s.logits)
        piece, coming = coming, done(counter)
    wait(counter, pieces, s.yields)
