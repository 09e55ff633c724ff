"""Packed bit fields in IR, the twin of quant/layout.py: bytes in runs, low bits first. A run of 1 has one bit a value.

Along a row a vector holds 64 codes in order. For a tile it holds four codes of each of 16 rows, which are turned
before they are unpacked: half or a quarter of the shuffles.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Bits, Codes, offset, size
from localmix.backends.numba.dots import hardware_half
from localmix.backends.numba.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
    concat,
    const,
    half_to_float,
    join,
    load,
    shuffle,
    splat,
    turn,
    vec,
)

CODES = vec(I8, 64)


def row_codes(b: ir.IRBuilder, codes: Codes, blocks: Sequence[Any]) -> list[Any]:
    """All codes of one block of 256 or two blocks of 32, as a list of <64 x i8>."""
    parts = [_row_part(b, codes.name, part, blocks) for part in codes.parts]
    return [codes.finish(b, reduce(b.or_, pieces)) for pieces in zip(*parts, strict=True)]


def _row_part(b: ir.IRBuilder, name: str, part: Bits, blocks: Sequence[Any]) -> list[Any]:
    if part.run == 1:
        words = [load(b, vec(I32, 1), p, offset(name, part.field)) for p in blocks]
        set_ = b.bitcast(join(b, words), vec(ir.IntType(1), 64))
        return [b.select(set_, const(CODES, 1 << part.at), const(CODES, 0))]
    runs = [a for p in blocks for a in _runs(b, p, name, part)]
    shifts = range(0, 8, part.bits)
    if part.run == 64:
        return [_shifted(b, load(b, CODES, a), [s] * 4, part) for a in runs for s in shifts]
    if part.bits == 8:
        pairs = zip(runs[::2], runs[1::2], strict=True)
        return [join(b, [load(b, vec(I8, 32), a) for a in pair]) for pair in pairs]
    # Several shifts of the same bytes share one vector, quarter by quarter.
    two = list(zip(shifts[::2], shifts[1::2], strict=True))
    if part.run == 32:
        wide = [shuffle(b, load(b, vec(I8, 32), a), [*range(32), *range(32)]) for a in runs]
        return [_shifted(b, w, [s, s, t, t], part) for w in wide for s, t in two]
    halves = [join(b, [load(b, vec(I8, 16), a) for a in runs[i : i + 2]]) for i in range(0, len(runs), 2)]
    wide = [shuffle(b, h, [*range(16), *range(16), *range(16, 32), *range(16, 32)]) for h in halves]
    return [_shifted(b, w, [s, t, s, t], part) for w in wide for s, t in two]


def tile_codes(b: ir.IRBuilder, codes: Codes, rows: Sequence[Any]) -> list[Any]:
    """The codes of one block in each of 16 rows: vector k has codes 4k to 4k + 3, lane r those of row r."""
    parts = [_tile_part(b, codes.name, part, rows) for part in codes.parts]
    return [codes.finish(b, reduce(b.or_, pieces)) for pieces in zip(*parts, strict=True)]


def _tile_part(b: ir.IRBuilder, name: str, part: Bits, rows: Sequence[Any]) -> list[Any]:
    ints = vec(I32, 16)
    if part.run == 1:
        (word,) = turn(b, [load(b, vec(I32, 1), p, offset(name, part.field)) for p in rows])
        nibbles = [b.and_(b.lshr(word, const(ints, 4 * k)), const(ints, 15)) for k in range(8)]
        spread = [b.and_(b.mul(n, const(ints, 0x00204081)), const(ints, 0x01010101)) for n in nibbles]
        return [b.bitcast(b.shl(s, const(ints, part.at)), CODES) for s in spread]
    out = []
    runs = [_runs(b, p, name, part) for p in rows]
    for i in range(len(runs[0])):
        columns = turn(b, [load(b, vec(I32, part.run // 4), row[i]) for row in runs])
        for shift in range(0, 8, part.bits):
            out += [_shifted(b, b.bitcast(c, CODES), [shift] * 4, part) for c in columns]
    return out


def _runs(b: ir.IRBuilder, p: Any, name: str, part: Bits) -> list[Any]:
    """The addresses of the runs of a field in a block."""
    return [b.add(p, I64(offset(name, part.field) + i)) for i in range(0, size(name, part.field), part.run)]


def _shifted(b: ir.IRBuilder, x: Any, quarters: list[int], part: Bits) -> Any:
    """The field at each quarter's shift, moved to bit `at`: 64-bit lanes are shifted, neighbours' bits masked away."""
    if part.bits == 8:
        return x
    lanes = vec(I64, 8)
    right = [max(q - part.at, 0) for q in quarters for _ in range(2)]
    left = [max(part.at - q, 0) for q in quarters for _ in range(2)]
    x = b.bitcast(x, lanes)
    if any(right):
        x = b.lshr(x, const(lanes, right))
    if any(left):
        x = b.shl(x, const(lanes, left))
    return b.and_(b.bitcast(x, CODES), const(CODES, ((1 << part.bits) - 1) << part.at))


def small(b: ir.IRBuilder, p: Any, start: int, count: int, bits: int, run: int) -> Any:
    """A few values as one vector <count x i8>; with a run of 1 they are neighbours in at most 4 bytes."""
    if run == 1:
        wide = ir.IntType(count * bits)
        value = b.zext(load(b, wide, p, start), I32) if count * bits < 32 else load(b, wide, p, start)
        lanes = b.lshr(splat(b, value, count), const(vec(I32, count), [bits * i for i in range(count)]))
        return b.trunc(b.and_(lanes, const(lanes.type, (1 << bits) - 1)), vec(I8, count))
    pieces = []
    for at in range(0, count * bits // 8, run):
        part = load(b, vec(I8, run), p, start + at)
        for shift in range(0, 8, bits):
            pieces.append(b.and_(b.lshr(part, const(part.type, shift)), const(part.type, (1 << bits) - 1)))
    return join(b, pieces)


def halves(b: ir.IRBuilder, blocks: Sequence[Any], name: str, field: str) -> Any:
    """A float16 field of each block as a vector of float32, converted at once."""
    bits = join(b, [load(b, vec(I16, 1), p, offset(name, field)) for p in blocks])
    return half_to_float(b, bits, hardware_half())


def half(b: ir.IRBuilder, p: Any, name: str, field: str, lanes: int) -> Any:
    """A float16 field of one block as float32 in every lane."""
    return splat(b, half_to_float(b, load(b, I16, p, offset(name, field)), hardware_half()), lanes)


def scales_and_minima(b: ir.IRBuilder, p: Any, name: str) -> tuple[Any, Any]:
    """The 8 scales and 8 minima of Q4_K and Q5_K, multiplied out: <8 x float> each (see quant/q4_k.py)."""
    start = offset(name, "scales")
    scale, minimum, rest = (load(b, vec(I8, 4), p, start + i) for i in (0, 4, 8))
    mask = lambda v, m: b.and_(v, const(v.type, m))  # noqa: E731
    right = lambda v, n: b.lshr(v, const(v.type, n))  # noqa: E731
    scales = concat(b, mask(scale, 0x3F), b.or_(mask(rest, 15), mask(right(scale, 2), 0x30)))
    minima = concat(b, mask(minimum, 0x3F), b.or_(right(rest, 4), mask(right(minimum, 2), 0x30)))
    floats = [b.uitofp(v, vec(F32, 8)) for v in (scales, minima)]
    return b.fmul(floats[0], half(b, p, name, "d", 8)), b.fmul(floats[1], half(b, p, name, "dmin", 8))
