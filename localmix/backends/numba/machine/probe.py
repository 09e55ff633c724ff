"""The kernel that reads memory as fast as it goes: what decoding is measured against."""

import numba

from localmix.backends.numba.machine.native import native
from localmix.backends.numba.machine.words import any64, load_i8x64, or64, prefetch, record, store_i64
from localmix.backends.numba.passes.parts import done, take, wait
from localmix.backends.numba.passes.records import PROBE

PROBE_T = numba.from_dtype(PROBE)
PIECE = 1 << 18  # bytes, as a piece of weights


@native(2)
def read(probe: int, thread: int) -> None:
    """All bytes of a range, in pieces; each piece as `streams` streams side by side, asked for `ahead` bytes early."""
    p = record(probe, PROBE_T)
    pieces = p.size // PIECE
    each = PIECE // p.streams
    seen = load_i8x64(p.start)
    piece = take(p.counters)
    while piece < pieces:
        at = p.start + piece * PIECE
        for i in range(0, each, 256):
            for stream in range(p.streams):
                line = at + stream * each + i
                if p.ahead > 0:
                    prefetch(line + p.ahead)
                    prefetch(line + p.ahead + 64)
                    prefetch(line + p.ahead + 128)
                    prefetch(line + p.ahead + 192)
                seen = or64(seen, or64(load_i8x64(line), load_i8x64(line + 64)))
                seen = or64(seen, or64(load_i8x64(line + 128), load_i8x64(line + 192)))
        piece = done(p.counters)
    store_i64(p.result + 64 * thread, any64(seen))
    wait(p.counters, pieces, 0)
