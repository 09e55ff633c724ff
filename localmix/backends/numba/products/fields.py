"""Packed bit fields in IR, the twin of quant/layout.py: bytes in runs, low bits first. A run of 1 has one bit a value.

Along a row a vector holds 64 codes, in the order in which they are stored. For a tile it holds four codes of each of 16
rows, which are turned before they are unpacked: half or a quarter of the shuffles.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.simd import (
    I8,
    I16,
    I32,
    I64,
    const,
    fence,
    join,
    load,
    shuffle,
    turn,
    vec,
)
from localmix.backends.numba.products.codes import Codes, offset, size
from quant.coding import Bits

CODES = vec(I8, 64)
I1 = ir.IntType(1)


def row_order(codes: Codes, n: int) -> list[list[int]]:
    """The columns of n weights as `row_codes` gives them: for each vector of 64, where its four runs of 16 start.

    Groups of 32 are a quarter each, so that a vector and the next one are of the same four groups and share a sum.
    Groups of 16 come in the order in which the first field lies in memory: they share no sums, and codes stay put.
    """
    if codes.group == 32:
        count = n // 64
        return [[16 * (count * q + i) for q in range(4)] for i in range(count)]
    part = codes.parts[0]
    each, order = size(codes.name, part.field), []
    for chunk in range(0, n // codes.block * each, 64):
        for shift in range(8 // part.bits):
            order.append([_column(codes, part, *divmod(chunk + 16 * q, each), shift) for q in range(4)])
    return order


def _column(codes: Codes, part: Bits, block: int, byte: int, shift: int) -> int:
    """The column whose bits stand at a shift (counted in fields) of a byte of a block's field."""
    group, inside = divmod(byte, part.run)
    return block * codes.block + (group * (8 // part.bits) + shift) * part.run + inside


def row_codes(b: ir.IRBuilder, codes: Codes, blocks: Sequence[Any]) -> list[Any]:
    """All codes of some blocks of a row, as a list of <64 x i8>, in the order of `row_order`."""
    order = row_order(codes, codes.block * len(blocks))
    parts = [[_row_part(b, codes, part, blocks, columns) for columns in order] for part in codes.parts]
    return [codes.finish(b, reduce(b.or_, pieces)) for pieces in zip(*parts, strict=True)]


def _row_part(b: ir.IRBuilder, codes: Codes, part: Bits, blocks: Sequence[Any], columns: list[int]) -> Any:
    """One field of the 64 codes in those columns."""
    at = offset(codes.name, part.field)
    if part.run == 1:
        return _row_bits(b, codes, part, blocks, columns)
    span = part.run * 8 // part.bits  # columns that share bytes
    places = [(c // codes.block, c % codes.block // span * part.run + c % part.run) for c in columns]
    shifts = [c % span // part.run * part.bits for c in columns]
    if size(codes.name, part.field) == 128 and "avx512f" in isa.active().needs:  # two loads of 64 serve all vectors
        whole = [load(b, CODES, blocks[0], at + i) for i in (0, 64)]
        return _shifted(b, picked(b, whole, [byte for _, byte in places], 16), shifts, part)
    return _shifted(b, _bytes(b, blocks, [(block, at + byte) for block, byte in places]), shifts, part)


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


def whole_bytes(codes: Codes) -> bool:
    """Whether strips turn bytes of two codes as they are, which is half the work: where there are registers enough to
    take them apart beside the sums of eight tokens.
    """
    return "avx512f" in isa.active().needs and len(codes.parts) == 1 and codes.parts[0].bits == 4


def bytes_of_run(b: ir.IRBuilder, codes: Codes, rows: Sequence[Any]) -> list[Any]:
    """The bytes of one run, the first of the blocks in each of 16 rows, four at a time: vectors in whose lane r are
    those of row r.
    """
    part = codes.parts[0]
    at = offset(codes.name, part.field)
    return [b.bitcast(four, CODES) for four in turn(b, [load(b, vec(I32, part.run // 4), p, at) for p in rows])]


def half_of_bytes(b: ir.IRBuilder, codes: Codes, four: Any, half: int) -> Any:
    """The codes in the lower (0) or upper (1) halves of such a vector, which is a run of columns further."""
    return codes.finish(b, _shifted(b, four, [4 * half] * 4, codes.parts[0]))


def tile_codes(b: ir.IRBuilder, codes: Codes, rows: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """The codes of one block in each of 16 rows, four columns at a time: the first column, and a vector in whose lane r
    are those of row r. To be stored at once: 16 registers hold few of them.
    """
    main, span = codes.parts[0], max(_columns(part) for part in codes.parts)
    least = min(part.run for part in codes.parts if part.run > 1)
    size = _turned_bytes(main)
    squares: dict[tuple[Bits, int], list[Any]] = {}

    def four(part: Bits, column: int) -> Any:
        run, inside = divmod(column, _columns(part))
        if part.run == 1:
            return _neighbouring(b, squares, codes.name, part, rows, inside)
        shift, byte = divmod(inside, part.run)
        first = byte // _turned_bytes(part) * _turned_bytes(part)
        key = part, offset(codes.name, part.field) + run * part.run + first
        if key not in squares:
            squares[key] = turn(b, [load(b, vec(I32, _turned_bytes(part) // 4), p, key[1]) for p in rows])
        return _shifted(b, b.bitcast(squares[key][(byte - first) // 4], CODES), [shift * part.bits] * 4, part)

    for first in range(0, codes.block, span):
        for at in range(0, least, size):
            for run in range(first, first + span, _columns(main)):
                for place in range(run + at, run + main.run, max(least, size)):
                    fence(b)  # or LLVM reads all of the block before it writes any, and keeps it on the stack meanwhile
                    for shifted in range(place, run + _columns(main), main.run):
                        for column in range(shifted, shifted + size, 4):
                            yield column, codes.finish(b, reduce(b.or_, [four(part, column) for part in codes.parts]))


def _turned_bytes(part: Bits) -> int:
    """Bytes of each row that are turned at once: the more, the more rounds of shuffles, and the fewer loads."""
    return part.run if "avx512f" in isa.active().needs else 16


def _columns(part: Bits) -> int:
    """Columns whose bits stand in one run of bytes; of neighbouring bits all that there are."""
    return 32 if part.run == 1 else part.run * 8 // part.bits


def _neighbouring(b: ir.IRBuilder, squares: Any, name: str, part: Bits, rows: Sequence[Any], column: int) -> Any:
    """The same of a field of one bit a column, 32 in a word."""
    ints, at = vec(I32, 16), offset(name, part.field)
    if (part, at) not in squares:
        squares[part, at] = turn(b, [load(b, vec(I32, 1), p, at) for p in rows])
    nibble = b.and_(b.lshr(squares[part, at][0], const(ints, column)), const(ints, 15))
    spread = b.mul(nibble, const(ints, 0x00204081 << part.at))
    return b.bitcast(b.and_(spread, const(ints, 0x01010101 << part.at)), CODES)


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
