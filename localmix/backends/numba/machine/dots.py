"""The words that differ between instruction sets: products of bytes, look-ups of nibbles, float16."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.simd import I8, I16, I32, call, concat, const, join, shuffle, vec


def hardware_half() -> bool:
    """Whether float16 conversion is an instruction here."""
    return bool({"f16c", "neon"} & set(isa.active().needs))


def dot4(b: ir.IRBuilder, start: Any, codes: Any, x: Any) -> Any:
    """start[i] + the sum over j < 4 of codes[4i+j] · x[4i+j]: unsigned codes, signed x, 16 lanes of int32.

    Where products of bytes are summed in pairs (isa.pairs), codes are up to 128 only.
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
        return sdot4(b, start, codes, x)
    return b.add(start, fours(b, pairs(b, codes, x)) if isa.active().pairs else _by_words(b, codes, x))


def sdot4(b: ir.IRBuilder, start: Any, y: Any, x: Any) -> Any:
    """The same of signed y, which every ARM core with dot products has."""
    return join(
        b,
        [
            call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", vec(I32, 4), *(_quarter(b, v, i) for v in (start, y, x)))
            for i in range(4)
        ],
    )


def _quarter(b: ir.IRBuilder, v: Any, i: int) -> Any:
    n = v.type.count // 4
    return shuffle(b, v, range(i * n, (i + 1) * n))


def _half(v: Any, h: int) -> range:
    n = v.type.count // 2
    return range(h * n, (h + 1) * n)


def pairs(b: ir.IRBuilder, codes: Any, x: Any) -> Any:
    """Sums of two products each, 32 lanes of int16, which saturate: codes up to 128, x from -127 on."""
    if "avx512bw" in isa.active().needs:
        return call(b, "llvm.x86.avx512.pmaddubs.w.512", vec(I16, 32), codes, x)
    return _by_halves(b, "llvm.x86.avx2.pmadd.ub.sw", vec(I16, 16), codes, x)


def words(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    """Sums of two products of int16 each, 16 lanes of int32."""
    if "avx512bw" in isa.active().needs:
        return call(b, "llvm.x86.avx512.pmaddw.d.512", vec(I32, 16), x, y)
    return _by_halves(b, "llvm.x86.avx2.pmadd.wd", vec(I32, 8), x, y)


def dot2(b: ir.IRBuilder, start: Any, x: Any, y: Any) -> Any:
    """start[i] + x[2i] · y[2i] + x[2i+1] · y[2i+1]: int16 on x86, 16 lanes of int32."""
    if isa.active().name == "avx512-vnni":
        return call(b, "llvm.x86.avx512.vpdpwssd.512", vec(I32, 16), start, x, y)
    return b.add(start, words(b, x, y))


def fours(b: ir.IRBuilder, pairs: Any) -> Any:
    """Sums of neighbours, 16 lanes of int32."""
    return words(b, pairs, const(pairs.type, 1))


def negated_where(b: ir.IRBuilder, sign: Any, x: Any) -> Any:
    """x, negated in the lanes where `sign` is negative; where it is 0 whatever may come. x is never -128."""
    if "avx512bw" in isa.active().needs:
        return b.select(b.icmp_signed("<", sign, const(sign.type, 0)), b.neg(x), x)
    return _by_halves(b, "llvm.x86.avx2.psign.b", vec(I8, 32), x, sign)


def pinned(b: ir.IRBuilder, x: Any) -> Any:
    """x, as something that LLVM knows nothing of and may not move.

    Sums of several tokens stay in the order in which they are written, vector of codes by vector of codes: LLVM would
    make all of one token's before the next one's, and keep the codes on the stack meanwhile.
    """
    wide = "avx512bw" in isa.active().needs
    parts = [x] if wide else [shuffle(b, x, _half(x, h)) for h in (0, 1)]
    kind = parts[0].type
    nothing = ir.InlineAsm(ir.FunctionType(kind, [kind]), "", "=v,0" if wide else "=x,0", side_effect=True)
    return join(b, [b.call(nothing, [part]) for part in parts])


def _by_halves(b: ir.IRBuilder, name: str, result: Any, *vectors: Any) -> Any:
    """An intrinsic of vectors half as long."""
    return concat(b, *(call(b, name, result, *(shuffle(b, v, _half(v, h)) for v in vectors)) for h in (0, 1)))


def _by_words(b: ir.IRBuilder, codes: Any, x: Any) -> Any:
    """By whole products, whose neighbours are added twice: LLVM makes them pmaddwd or its like."""
    wide = vec(I32, 64)
    sums = b.mul(b.zext(codes, wide), b.sext(x, wide))
    for n in (64, 32):
        sums = b.add(shuffle(b, sums, range(0, n, 2)), shuffle(b, sums, range(1, n, 2)))
    return sums


def sums4(b: ir.IRBuilder, x: Any) -> Any:
    """The sum of each four signed bytes: 16 lanes of int32."""
    return dot4(b, const(vec(I32, 16), 0), const(vec(I8, 64), 1), x)


def lookup16(b: ir.IRBuilder, table: list[int], index: Any) -> Any:
    """table[index] for each of 32 or 64 bytes below 16."""
    needs, kind = isa.active().needs, index.type
    if "avx512bw" in needs and kind.count == 64:
        return call(b, "llvm.x86.avx512.pshuf.b.512", kind, const(kind, table * 4), index)
    if "avx2" in needs or "neon" in needs:
        name, lanes = ("llvm.x86.avx2.pshuf.b", 32) if "avx2" in needs else ("llvm.aarch64.neon.tbl1.v16i8", 16)
        part = vec(I8, lanes)
        parts = [shuffle(b, index, range(i, i + lanes)) for i in range(0, kind.count, lanes)]
        parts = [call(b, name, part, const(part, table * (lanes // 16)), i) for i in parts]
        while len(parts) > 1:
            parts = [concat(b, parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        return parts[0]
    result = const(kind, table[0])
    for i in range(1, 16):
        result = b.select(b.icmp_unsigned("==", index, const(kind, i)), const(kind, table[i]), result)
    return result
