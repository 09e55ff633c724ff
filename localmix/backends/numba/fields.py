"""Packed bit fields in IR, the twin of quant/layout.py: bytes in runs, low bits first, 32 values at a time."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import offset
from localmix.backends.numba.dots import hardware_half
from localmix.backends.numba.simd import F32, I8, I16, I32, concat, const, half_to_float, load, shuffle, splat, vec


def fields(b: ir.IRBuilder, p: Any, start: int, count: int, bits: int, run: int) -> list[Any]:
    """`count` values of `bits` bits from the bytes at p + start, as a list of <32 x i8>."""
    pieces, per_byte = [], 8 // bits
    lanes = min(run, 32)
    for at in range(0, count * bits // 8, run):
        parts = [load(b, vec(I8, lanes), p, start + at + i) for i in range(0, run, lanes)]
        for shift in range(per_byte):
            for part in parts:
                moved = b.lshr(part, const(part.type, shift * bits)) if shift else part
                last = shift == per_byte - 1
                pieces.append(moved if last else b.and_(moved, const(part.type, (1 << bits) - 1)))
    if lanes == 16:
        pieces = [concat(b, pieces[i], pieces[i + 1]) for i in range(0, len(pieces), 2)]
    return pieces


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


def fifth_bits(b: ir.IRBuilder, p: Any, start: int) -> Any:
    """16 where a bit of the four bytes is set: <32 x i8>."""
    set_ = b.bitcast(load(b, I32, p, start), vec(ir.IntType(1), 32))
    return b.select(set_, const(vec(I8, 32), 16), const(vec(I8, 32), 0))


def half(b: ir.IRBuilder, p: Any, name: str, field: str) -> Any:
    """A float16 field of the block as float32."""
    return half_to_float(b, load(b, I16, p, offset(name, field)), hardware_half())


def one(b: ir.IRBuilder, value: Any) -> Any:
    """A scalar as a vector of one lane."""
    return b.insert_element(ir.Constant(vec(F32, 1), ir.Undefined), value, I32(0))


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
    return b.fmul(floats[0], _splat(b, d, 8)), b.fmul(floats[1], _splat(b, dmin, 8))


def _splat(b: ir.IRBuilder, value: Any, lanes: int) -> Any:
    return shuffle(b, one(b, value), [0] * lanes)
