"""Activations as int8 or int16 with a scale for each 32, a power of two: what the integer products are made with.

Such a scale is applied by adding to an exponent, which saves tiles one multiplication in ten (tiles.py). Its price is
half a bit: about what llama.cpp loses by sharing scales among 256.

Sixteen bits are two products of eight, the high and the low byte, and next to exact: what small models need, whose
sums have too few terms for the rounding of eight bits to average out (program.wide says when).

A row has sections (records.SECTIONS): the values, their scales, and sums that serve zero points and minima.
"""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.dots import sums4
from localmix.backends.numba.machine.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
    call,
    concat,
    const,
    float_to_half,
    inverse_scale,
    load,
    power_of_two,
    shuffle,
    splat,
    store,
    vec,
    whole,
)
from localmix.backends.numba.machine.words import int64, void, word
from localmix.backends.numba.passes import records
from localmix.backends.numba.passes.records import BIG, SECTIONS, UNTURNED, WIDE, ZEROS

padded = inner(records.padded)


def section(b: ir.IRBuilder, row: Any, width: Any, name: str, k: Any) -> Any:
    """The address of column k in a section of a quantized row of this padded width."""
    start, size = SECTIONS[name]
    return b.add(b.add(row, b.mul(b.lshr(width, I64(3)), I64(start))), b.lshr(b.mul(k, I64(size)), I64(5)))


def _quantize64(bits: int, turned: bool) -> Any:
    most = 127.0 if bits == 8 else 127.0 * 256

    @word(void, int64, int64, int64, int64)
    def quantize64(b: ir.IRBuilder, source: Any, row: Any, width: Any, k: Any) -> None:
        """Quantize the 64 floats at `source` into the row, at column k."""
        quantized, scales = [], []
        for half in (0, 1):
            x, largest = _floats32(b, b.add(source, I64(128 * half)))
            power, inverse = power_of_two(b, b.fmul(largest, const(F32, 1 / most)), records.TINY)
            quantized.append(whole(b, b.fmul(x, splat(b, inverse, 32))))
            scales.append(b.bitcast(power, F32))
        ints, bytes_ = concat(b, *quantized), vec(I8, 64)
        values, sums = b.trunc(ints, bytes_), None
        if bits == 16:
            low = values
            _store_values(b, row, width, k, "low", low, turned)
            rest = b.sub(ints, b.sext(low, ints.type))
            values = b.trunc(b.ashr(rest, const(ints.type, 8)), bytes_)
            sums = sums4(b, low)
            if isa.active().pairs:
                even_odd = [run + i for run in range(0, 64, 16) for i in (*range(0, 16, 2), *range(1, 16, 2))]
                store(b, shuffle(b, b.trunc(ints, vec(I16, 64)), even_odd), section(b, row, width, "words", k))
        _store(b, row, width, k, values, sums, scales, turned)

    return quantize64


def _floats32(b: ir.IRBuilder, source: Any) -> tuple[Any, Any]:
    """32 floats and the largest magnitude among them."""
    x = load(b, vec(F32, 32), source, align=4)
    size = call(b, "llvm.fabs.v32f32", x.type, x)
    return x, call(b, "llvm.vector.reduce.fmax.v32f32", F32, size, flags=("nnan",))


def _store(
    b: ir.IRBuilder, row: Any, width: Any, k: Any, values: Any, low_sums: Any, scales: list[Any], turned: bool
) -> None:
    """The other sections: what follows from values, the sums of four low bytes (None: 8 bits) and two scales."""
    d = b.insert_element(splat(b, scales[0], 2), scales[1], I32(1))
    fours = sums4(b, values)  # <16 x i32>
    if low_sums is not None:
        fours = b.add(b.shl(fours, const(fours.type, 8)), low_sums)
    fours = b.neg(fours)
    sixteens = _neighbours(b, _neighbours(b, fours))  # <4 x i32>
    whole = _neighbours(b, sixteens)  # <2 x i32>
    _store_values(b, row, width, k, "values", values, turned)
    floats = [b.fneg(b.fmul(b.sitofp(n, vec(F32, n.type.count)), x)) for n, x in ((whole, d), (sixteens, _twice(b, d)))]
    sums32, sums16 = (b.mul(n, const(n.type, ZEROS[group])) for group, n in ((32, whole), (16, sixteens)))
    sections = {"scales": d, "floats32": floats[0], "floats16": floats[1], "sums32": sums32, "sums16": sums16}
    if low_sums is None:
        starts = b.fmul(d, const(d.type, BIG))
        bits = b.bitcast(starts, whole.type)
        sections |= {"starts": starts, "starts32": b.add(bits, sums32), "starts16": b.add(_twice(b, bits), sums16)}
    for name, value in sections.items():
        store(b, value, section(b, row, width, name, k))


def _store_values(b: ir.IRBuilder, row: Any, width: Any, k: Any, name: str, values: Any, turned: bool) -> None:
    """64 of them, and once more with the runs of 16 where row products want them: in eight lines, which threads that
    quantize a row together take from each other.
    """
    store(b, values, section(b, row, width, name, k))
    if not turned:
        return
    start = section(b, row, width, f"turned_{name}", b.and_(k, I64(-256)))
    place = b.add(start, b.lshr(b.and_(k, I64(192)), I64(2)))
    for i in range(4):
        store(b, shuffle(b, values, range(16 * i, 16 * i + 16)), place, 64 * i)


def _neighbours(b: ir.IRBuilder, x: Any) -> Any:
    """Sums of pairs of lanes."""
    n = x.type.count
    return b.add(shuffle(b, x, range(0, n, 2)), shuffle(b, x, range(1, n, 2)))


def _twice(b: ir.IRBuilder, x: Any) -> Any:
    return shuffle(b, x, [0, 0, 1, 1])


quantize64, quantize64_unturned = (_quantize64(8, turned) for turned in (True, False))
quantize64_wide, quantize64_wide_unturned = (_quantize64(16, turned) for turned in (True, False))


@inner
def quantize_at(x: int, row: int, room: int, k: int, activations: int) -> None:
    """64 floats into column k of a quantized row of padded width `room`."""
    if activations == WIDE | UNTURNED:
        quantize64_wide_unturned(x, row, room, k)
    elif activations == UNTURNED:
        quantize64_unturned(x, row, room, k)
    elif activations == WIDE:
        quantize64_wide(x, row, room, k)
    else:
        quantize64(x, row, room, k)


@word(void, int64, int64)
def store_q8_0(b: ir.IRBuilder, source: Any, block: Any) -> None:
    """The 32 floats at `source` as a block of Q8_0: float16 scale, then int8 values."""
    x, largest = _floats32(b, source)
    inverse = splat(b, inverse_scale(b, largest, 127.0), 32)
    store(b, float_to_half(b, b.fmul(largest, const(F32, 1 / 127.0))), block)
    store(b, b.trunc(whole(b, b.fmul(x, inverse)), vec(I8, 32)), block, 2)
