"""The words that differ between instruction sets: products of bytes, look-ups of nibbles, float16."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba import isa
from localmix.backends.numba.simd import I8, I16, I32, call, concat, const, join, shuffle, vec


def hardware_half() -> bool:
    """Whether float16 conversion is an instruction here."""
    return bool({"f16c", "neon"} & set(isa.active().needs))


def dot4(b: ir.IRBuilder, start: Any, codes: Any, x: Any, *, high: bool = True) -> Any:
    """start[i] + the sum over j < 4 of codes[4i+j] · x[4i+j]: unsigned codes, signed x, 16 lanes of int32.

    `high` False: no code is above 127.
    """
    name = isa.active().name
    if name == "avx512-vnni":
        return call(b, "llvm.x86.avx512.vpdpbusd.512", vec(I32, 16), start, codes, x)
    if name == "avx-vnni":
        halves = [
            call(
                b, "llvm.x86.avx512.vpdpbusd.256", vec(I32, 8), *(shuffle(b, v, _half(v, h)) for v in (start, codes, x))
            )
            for h in (0, 1)
        ]
        return concat(b, *halves)
    if name == "neon-dotprod":
        return join(b, [_sdot(b, high, *(_part(b, v, i) for v in (start, codes, x))) for i in range(4)])
    if "avx2" in isa.active().needs:
        return b.add(start, _by_pairs(b, codes, x, high))
    return b.add(start, _by_words(b, codes, x))


def _part(b: ir.IRBuilder, v: Any, i: int) -> Any:
    n = v.type.count // 4
    return shuffle(b, v, range(i * n, (i + 1) * n))


def _sdot(b: ir.IRBuilder, high: bool, start: Any, codes: Any, x: Any) -> Any:
    """Signed by signed, which every core with dot products has: codes above 127 as 128 + a signed number."""
    sdot = lambda acc, y, z: call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", acc.type, acc, y, z)  # noqa: E731
    if not high:
        return sdot(start, codes, x)
    half = const(x.type, 64)
    return sdot(sdot(sdot(start, x, half), x, half), b.xor(codes, const(codes.type, 0x80)), x)


def _half(v: Any, h: int) -> range:
    n = v.type.count // 2
    return range(h * n, (h + 1) * n)


def _by_pairs(b: ir.IRBuilder, codes: Any, x: Any, high: bool) -> Any:
    """By sums of two products in 16 bits, which saturate: codes above 127 in two parts, 2 · 128 · 127 < 2^15."""
    if not high:
        return _fours(b, _pairs(b, codes, x))
    parts = (b.and_(codes, const(codes.type, mask)) for mask in (0x7F, 0x80))
    return b.add(*(_fours(b, _pairs(b, part, x)) for part in parts))


def _pairs(b: ir.IRBuilder, codes: Any, x: Any) -> Any:
    """Sums of two products each, 32 lanes of int16."""
    if "avx512bw" in isa.active().needs:
        return call(b, "llvm.x86.avx512.pmaddubs.w.512", vec(I16, 32), codes, x)
    halves = ([shuffle(b, v, _half(v, h)) for v in (codes, x)] for h in (0, 1))
    return join(b, [call(b, "llvm.x86.avx2.pmadd.ub.sw", vec(I16, 16), *pair) for pair in halves])


def _fours(b: ir.IRBuilder, pairs: Any) -> Any:
    """Sums of neighbours, 16 lanes of int32."""
    one = const(pairs.type, 1)
    if "avx512bw" in isa.active().needs:
        return call(b, "llvm.x86.avx512.pmaddw.d.512", vec(I32, 16), pairs, one)
    halves = ([shuffle(b, v, _half(v, h)) for v in (pairs, one)] for h in (0, 1))
    return join(b, [call(b, "llvm.x86.avx2.pmadd.wd", vec(I32, 8), *pair) for pair in halves])


def _by_words(b: ir.IRBuilder, codes: Any, x: Any) -> Any:
    """By whole products, whose neighbours are added twice: LLVM makes them pmaddwd or its like."""
    wide = vec(I32, 64)
    sums = b.mul(b.zext(codes, wide), b.sext(x, wide))
    for n in (64, 32):
        sums = b.add(shuffle(b, sums, range(0, n, 2)), shuffle(b, sums, range(1, n, 2)))
    return sums


def sums4(b: ir.IRBuilder, x: Any) -> Any:
    """The sum of each four signed bytes: 16 lanes of int32."""
    return dot4(b, const(vec(I32, 16), 0), const(vec(I8, 64), 1), x, high=False)


def lookup16(b: ir.IRBuilder, table: list[int], index: Any) -> Any:
    """table[index] for each of 64 bytes below 16."""
    needs, kind = isa.active().needs, vec(I8, 64)
    if "avx512bw" in needs:
        return call(b, "llvm.x86.avx512.pshuf.b.512", kind, const(kind, table * 4), index)
    if "avx2" in needs or "neon" in needs:
        name, lanes = ("llvm.x86.avx2.pshuf.b", 32) if "avx2" in needs else ("llvm.aarch64.neon.tbl1.v16i8", 16)
        part = vec(I8, lanes)
        parts = [shuffle(b, index, range(i, i + lanes)) for i in range(0, 64, lanes)]
        parts = [call(b, name, part, const(part, table * (lanes // 16)), i) for i in parts]
        while len(parts) > 1:
            parts = [concat(b, parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        return parts[0]
    result = const(kind, table[0])
    for i in range(1, 16):
        result = b.select(b.icmp_unsigned("==", index, const(kind, i)), const(kind, table[i]), result)
    return result
