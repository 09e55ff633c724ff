"""Packed bit fields in IR, the twin of quant/layout.py: bytes in runs, low bits first; 64 values at a time."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import offset, size
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
    load,
    shuffle,
    splat,
    vec,
)

CODES = vec(I8, 64)


def fields(b: ir.IRBuilder, runs: Sequence[Any], bits: int, run: int, *, at: int = 0) -> list[Any]:
    """All values of `bits` bits from runs of bytes at these addresses, as a list of <64 x i8>; each is shifted left
    by `at`.

    Several shifts of the same bytes share one vector: 64-bit lanes are shifted apart, then the neighbours' bits
    are masked away. That is three instructions for 64 values.
    """
    shifts = range(0, 8, bits)
    if run == 16:  # two runs to a vector
        sources = [concat(b, *(load(b, vec(I8, 16), a) for a in runs[i : i + 2])) for i in range(0, len(runs), 2)]
        wide = [shuffle(b, s, [*range(16), *range(16), *range(16, 32), *range(16, 32)]) for s in sources]
        return [_shifted(b, w, [s, s2, s, s2], bits, at) for w in wide for s, s2 in _two(shifts)]
    if run == 32:
        sources = [load(b, vec(I8, 32), a) for a in runs]
        wide = [shuffle(b, s, [*range(32), *range(32)]) for s in sources]
        return [_shifted(b, w, [s, s, s2, s2], bits, at) for w in wide for s, s2 in _two(shifts)]
    assert run == 64, run
    return [_shifted(b, load(b, CODES, a), [s] * 4, bits, at) for a in runs for s in shifts]


def _two(shifts: Sequence[int]) -> list[tuple[int, int]]:
    return [(shifts[i], shifts[i + 1]) for i in range(0, len(shifts), 2)]


def _shifted(b: ir.IRBuilder, x: Any, quarters: list[int], bits: int, at: int) -> Any:
    """The field at each quarter's shift, moved to bit `at`."""
    lanes = vec(I64, 8)
    right = [max(q - at, 0) for q in quarters for _ in range(2)]
    left = [max(at - q, 0) for q in quarters for _ in range(2)]
    x = b.bitcast(x, lanes)
    if any(right):
        x = b.lshr(x, const(lanes, right))
    if any(left):
        x = b.shl(x, const(lanes, left))
    return b.and_(b.bitcast(x, CODES), const(CODES, ((1 << bits) - 1) << at))


def inside(b: ir.IRBuilder, p: Any, name: str, field: str, run: int) -> list[Any]:
    """The addresses of the runs of a field in a block."""
    start = offset(name, field)
    return [b.add(p, I64(start + i)) for i in range(0, size(name, field), run)]


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
    while len(pieces) > 1:
        pieces = [concat(b, pieces[i], pieces[i + 1]) for i in range(0, len(pieces), 2)]
    return pieces[0]


def fifth_bits(b: ir.IRBuilder, p: Any, q: Any, start: int) -> Any:
    """16 where a bit of the four bytes in each of two blocks is set: <64 x i8>."""
    words = b.insert_element(splat(b, load(b, I32, p, start), 2), load(b, I32, q, start), I32(1))
    set_ = b.bitcast(words, vec(ir.IntType(1), 64))
    return b.select(set_, const(CODES, 16), const(CODES, 0))


def half(b: ir.IRBuilder, p: Any, name: str, field: str) -> Any:
    """A float16 field of the block as float32."""
    return half_to_float(b, load(b, I16, p, offset(name, field)), hardware_half())


def halves(b: ir.IRBuilder, p: Any, q: Any, name: str, field: str) -> Any:
    """A float16 field of two blocks: <2 x float>, converted at once."""
    at = offset(name, field)
    both = b.insert_element(splat(b, load(b, I16, p, at), 2), load(b, I16, q, at), I32(1))
    return half_to_float(b, both, hardware_half())


def scales_and_minima(b: ir.IRBuilder, p: Any, name: str) -> tuple[Any, Any]:
    """The 8 scales and 8 minima of Q4_K and Q5_K, multiplied out: <8 x float> each (see quant/q4_k.py)."""
    start = offset(name, "scales")
    scale, minimum, rest = (load(b, vec(I8, 4), p, start + i) for i in (0, 4, 8))
    mask = lambda v, m: b.and_(v, const(v.type, m))  # noqa: E731
    right = lambda v, n: b.lshr(v, const(v.type, n))  # noqa: E731
    scales = concat(b, mask(scale, 0x3F), b.or_(mask(rest, 15), mask(right(scale, 2), 0x30)))
    minima = concat(b, mask(minimum, 0x3F), b.or_(right(rest, 4), mask(right(minimum, 2), 0x30)))
    d, dmin = half(b, p, name, "d"), half(b, p, name, "dmin")
    floats = [b.uitofp(v, vec(F32, 8)) for v in (scales, minima)]
    return b.fmul(floats[0], splat(b, d, 8)), b.fmul(floats[1], splat(b, dmin, 8))
