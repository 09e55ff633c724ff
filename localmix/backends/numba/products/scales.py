"""Scales and minima of blocks in IR: the small fields of a block, multiplied out to floats.

For a row a vector holds those of one block or of neighbours, for a tile those of the same block in each of 16 rows.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

import quant
from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.dots import hardware_half
from localmix.backends.numba.machine.simd import (
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
from localmix.backends.numba.products.codes import offset


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
    each = 1  # blocks whose field is in one load, as many as 64 bytes reach
    if isinstance(blocks, Neighbours) and "avx512bw" in isa.active().needs:
        while 2 * each <= len(blocks) and _reach(start, stride, 2 * each) <= min(64, 2 * each * stride):
            each *= 2
    lanes = [(start + stride * i) // 2 for i in range(each)]
    room = _reach(start, stride, each) // 2  # words; within the blocks
    bits = (
        [shuffle(b, load(b, vec(I16, room), p), lanes) for p in blocks[::each]]
        if each > 1
        else [load(b, vec(I16, 1), p, start) for p in blocks]
    )
    return half_to_float(b, join(b, bits), hardware_half())


def _reach(start: int, stride: int, each: int) -> int:
    """The bytes, a power of two, that hold the fields of so many blocks."""
    last: int = (start + stride * (each - 1)) // 2
    return 2 << last.bit_length()


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


def words_of_rows(b: ir.IRBuilder, rows: Sequence[Any], at: int, count: int) -> list[Any]:
    """Words of 32 bits at a place of a block in each of 16 rows, a row in each lane: 1, 2 or 4 of them."""
    return turn(b, [load(b, vec(I32, count), p, at) for p in rows])


def two_halves(b: ir.IRBuilder, words: Any) -> tuple[Any, Any]:
    """The float16 in the lower and in the upper halves of a vector of words, as float32."""
    low, high = (b.trunc(b.lshr(words, const(words.type, n)), vec(I16, words.type.count)) for n in (0, 16))
    return half_to_float(b, low, hardware_half()), half_to_float(b, high, hardware_half())


def two_halves_of_rows(b: ir.IRBuilder, rows: Sequence[Any], name: str, field: str = "d") -> tuple[Any, Any]:
    """A float16 field and the one behind it of a block in each of 16 rows."""
    (both,) = words_of_rows(b, rows, offset(name, field), 1)
    return two_halves(b, both)


def scaled(b: ir.IRBuilder, numbers: Any, d: Any) -> Any:
    """A vector of whole numbers times a float each, in one instruction with what may be added (units.py)."""
    return b.fmul(b.sitofp(numbers, d.type), d, flags=("contract",))


def bits_of(b: ir.IRBuilder, word: Any, at: int, count: int) -> Any:
    """Some bits of a vector of words."""
    return b.and_(b.lshr(word, const(word.type, at)), const(word.type, (1 << count) - 1))


def bytes_of(b: ir.IRBuilder, words: Any, place: int = 0) -> list[Any]:
    """The four bytes of each of a vector of words, as vectors of words that have them at byte `place`, else zeros."""
    bytes_ = b.bitcast(words, vec(I8, 4 * words.type.count))
    count = bytes_.type.count
    lanes = [[j - place + at if j % 4 == place else count for j in range(count)] for at in range(4)]
    return [b.bitcast(shuffle(b, bytes_, one, const(bytes_.type, 0)), words.type) for one in lanes]


def six_bits_of(b: ir.IRBuilder, low: Any, at: int, high: Any, high_at: int) -> Any:
    """Four bits of a vector of words from `at` on, and the upper two from `high_at` on of another."""
    return b.or_(bits_of(b, low, at, 4), b.shl(bits_of(b, high, high_at, 2), const(low.type, 4)))


def scales_and_minima_of_rows(b: ir.IRBuilder, rows: Sequence[Any], name: str) -> tuple[list[Any], list[Any]]:
    """The same of a block in each of 16 rows, a row in each lane: 8 vectors of scales and 8 of minima."""
    both, first, second, last = words_of_rows(b, rows, offset(name, "d"), 4)
    d, dmin = two_halves(b, both)

    def part(word: Any, right: int, each: int) -> Any:
        """Some bits of every byte at once."""
        return b.and_(b.lshr(word, const(word.type, right)), const(word.type, each * 0x01010101))

    scales = bytes_of(b, part(first, 0, 0x3F)) + bytes_of(b, b.or_(part(last, 0, 0x0F), part(first, 2, 0x30)))
    minima = bytes_of(b, part(second, 0, 0x3F)) + bytes_of(b, b.or_(part(last, 4, 0x0F), part(second, 2, 0x30)))
    return [scaled(b, v, d) for v in scales], [scaled(b, v, dmin) for v in minima]
