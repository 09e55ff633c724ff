"""Packed bit fields in IR, the twin of quant/layout.py: bytes in runs, low bits first. A run of 1 has one bit a value.

Along a row a vector holds 64 codes, in the order in which they are stored. For a tile it holds four codes of each of 16
rows, which are turned before they are unpacked: half or a quarter of the shuffles.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from llvmlite import ir

import quant
from localmix.backends.numba import isa
from localmix.backends.numba.codes import Bits, Codes, offset, size
from localmix.backends.numba.dots import hardware_half
from localmix.backends.numba.simd import (
    F32,
    I8,
    I16,
    I32,
    I64,
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
I1 = ir.IntType(1)


def row_order(codes: Codes) -> list[list[int]]:
    """The columns of a step as `row_codes` gives them: for each vector of 64, where its four runs of 16 columns start.

    The order is that in which the first field lies in memory: 64 bytes at a time, shift by shift. So codes are not
    moved; activations are, once for all rows.
    """
    part = codes.parts[0]
    each, order = size(codes.name, part.field), []
    for chunk in range(0, codes.step // codes.block * each, 64):
        for shift in range(8 // part.bits):
            order.append([_column(codes, part, *divmod(chunk + 16 * q, each), shift) for q in range(4)])
    return order


def _column(codes: Codes, part: Bits, block: int, byte: int, shift: int) -> int:
    """The column whose bits stand at a shift (counted in fields) of a byte of a block's field."""
    group, inside = divmod(byte, part.run)
    return block * codes.block + (group * (8 // part.bits) + shift) * part.run + inside


def row_codes(b: ir.IRBuilder, codes: Codes, blocks: Sequence[Any]) -> list[Any]:
    """All codes of one step, as a list of <64 x i8>, in the order of `row_order`."""
    order = row_order(codes)
    parts = [[_row_part(b, codes, part, blocks, columns) for columns in order] for part in codes.parts]
    return [codes.finish(b, reduce(b.or_, pieces)) for pieces in zip(*parts, strict=True)]


def _row_part(b: ir.IRBuilder, codes: Codes, part: Bits, blocks: Sequence[Any], columns: list[int]) -> Any:
    """One field of the 64 codes in those columns."""
    at = offset(codes.name, part.field)
    if part.run == 1:
        return _row_bits(b, codes, part, blocks, columns)
    span = part.run * 8 // part.bits  # columns that share bytes
    places = [(c // codes.block, at + c % codes.block // span * part.run + c % part.run) for c in columns]
    shifts = [c % span // part.run * part.bits for c in columns]
    return _shifted(b, _bytes(b, blocks, places), shifts, part)


def _row_bits(b: ir.IRBuilder, codes: Codes, part: Bits, blocks: Sequence[Any], columns: list[int]) -> Any:
    """A field of neighbouring bits, of at most 4 bytes a block, of the 64 codes in those columns."""
    at = offset(codes.name, part.field)
    places = [(blocks[c // codes.block], c % codes.block // 8) for c in columns]
    if "avx512bw" in isa.active().needs:  # bits are a mask
        words = [b.zext(load(b, I16, block, at + byte), I64) for block, byte in places]
        mask = b.bitcast(reduce(b.or_, [b.shl(word, I64(16 * i)) for i, word in enumerate(words)]), vec(I1, 64))
    else:  # each lane gets the byte that its bit is in; a block is longer than the 16 bytes that are read
        fields = join(b, [load(b, vec(I8, 16), block, at) for block, _ in places])
        bytes_ = shuffle(b, fields, [16 * q + byte + i // 8 for q, (_, byte) in enumerate(places) for i in range(16)])
        bit = const(CODES, [1 << i % 8 for i in range(64)])
        mask = b.icmp_unsigned("==", b.and_(bytes_, bit), bit)
    return b.select(mask, const(CODES, 1 << part.at), const(CODES, 0))


def _bytes(b: ir.IRBuilder, blocks: Sequence[Any], places: list[tuple[int, int]]) -> Any:
    """<64 x i8>: 16 bytes from each place (block, offset), in as few loads as they allow."""
    n, kept = 16, places
    while len(kept) > 1 and all(c == (d[0], d[1] - n) for c, d in zip(kept[::2], kept[1::2], strict=True)):
        n, kept = 2 * n, kept[::2]
    if len(set(kept)) == 1:
        return shuffle(b, load(b, vec(I8, n), blocks[kept[0][0]], kept[0][1]), [*range(n)] * (64 // n))
    return join(b, [load(b, vec(I8, n), blocks[block], at) for block, at in kept])


def picked(b: ir.IRBuilder, vectors: Sequence[Any], places: Sequence[int], run: int) -> Any:
    """Runs of `run` lanes, at `places`, of vectors seen end to end: of at most two of them."""
    n = vectors[0].type.count
    used = sorted({at // n for at in places})
    assert len(used) <= 2, places
    lanes = [used.index(at // n) * n + at % n + i for at in places for i in range(run)]
    if lanes == [*range(n)]:
        return vectors[used[0]]
    return shuffle(b, vectors[used[0]], lanes, vectors[used[-1]])


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


class Neighbours(tuple[Any, ...]):
    """Addresses of blocks that follow each other in memory."""


def halves(b: ir.IRBuilder, blocks: Sequence[Any], name: str, field: str) -> Any:
    """A float16 field of each block as a vector of float32, converted at once."""
    start, stride = offset(name, field), quant.FORMATS[name].dtype.itemsize
    last = start + stride * (len(blocks) - 1) + 2
    if isinstance(blocks, Neighbours) and last <= 64 and "avx512bw" in isa.active().needs:
        bits = shuffle(b, load(b, vec(I16, 32), blocks[0]), [(start + stride * i) // 2 for i in range(len(blocks))])
    else:
        bits = join(b, [load(b, vec(I16, 1), p, start) for p in blocks])
    return half_to_float(b, bits, hardware_half())


def half(b: ir.IRBuilder, p: Any, name: str, field: str, lanes: int) -> Any:
    """A float16 field of one block as float32 in every lane."""
    return splat(b, half_to_float(b, load(b, I16, p, offset(name, field)), hardware_half()), lanes)


def scales_and_minima(b: ir.IRBuilder, p: Any, name: str) -> tuple[Any, Any]:
    """The 8 scales and 8 minima of Q4_K and Q5_K, multiplied out: <8 x float> each (see quant/q4_k.py).

    The bits are sorted by whole words outside the vector units, which have enough to do.
    """
    start, mask = offset(name, "scales"), lambda v, byte: b.and_(v, I64(byte * 0x0101010101010101))
    first, last = load(b, I64, p, start), b.zext(load(b, I32, p, start + 8), I64)
    nibbles = b.or_(b.and_(last, I64(0x0F0F0F0F)), b.and_(b.shl(last, I64(28)), I64(0x0F0F0F0F00000000)))
    words = [mask(first, 0x3F), b.or_(nibbles, mask(b.lshr(first, I64(2)), 0x30))]  # 4 scales and 4 minima each
    both = const(vec(I64, 2), 0)
    for i, word in enumerate(words):
        both = b.insert_element(both, word, I32(i))
    sorted_ = b.bitcast(shuffle(b, b.bitcast(both, vec(I32, 4)), [0, 2, 1, 3]), vec(I8, 16))
    d = half_to_float(b, load(b, vec(I16, 2), p, offset(name, "d")), hardware_half())
    floats = b.fmul(b.uitofp(sorted_, vec(F32, 16)), shuffle(b, d, [0] * 8 + [1] * 8))
    return shuffle(b, floats, range(8)), shuffle(b, floats, range(8, 16))


def scales_and_minima_of_rows(b: ir.IRBuilder, rows: Sequence[Any], name: str) -> tuple[list[Any], list[Any]]:
    """The same of a block in each of 16 rows, a row in each lane: 8 vectors of scales and 8 of minima."""
    halves_, first, second, last = turn(b, [load(b, vec(I32, 4), p, offset(name, "d")) for p in rows])
    half_lanes = [b.trunc(b.lshr(halves_, const(halves_.type, n)), vec(I16, 16)) for n in (0, 16)]
    d, dmin = (half_to_float(b, h, hardware_half()) for h in half_lanes)

    def six(low: Any, at: int, high: Any = None, high_at: int = 0) -> Any:
        """Bits of a word as a number: 6 from `at` on, or 4, and the upper 2 from `high_at` on."""
        value = b.and_(b.lshr(low, const(low.type, at)), const(low.type, 63 if high is None else 15))
        if high is None:
            return value
        upper = b.and_(b.lshr(high, const(low.type, high_at)), const(low.type, 3))
        return b.or_(value, b.shl(upper, const(low.type, 4)))

    bytes_ = (0, 8, 16, 24)
    scales = [six(first, at) for at in bytes_] + [six(last, at, first, at + 6) for at in bytes_]
    minima = [six(second, at) for at in bytes_] + [six(last, at + 4, second, at + 6) for at in bytes_]
    return (
        [b.fmul(b.sitofp(v, vec(F32, 16)), d) for v in scales],
        [b.fmul(b.sitofp(v, vec(F32, 16)), dmin) for v in minima],
    )
