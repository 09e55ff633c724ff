"""Sums of products of codes and activations, made as an instruction set makes them best: 16 lanes of int32.

Codes come 64 at a time, with the activations of their columns as bytes; those of 16 bits are two bytes or,
where products of bytes are summed in pairs, also words of the even and of the odd columns: one sum instead of two.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from llvmlite import ir

from localmix.backends.numba.machine import isa
from localmix.backends.numba.machine.dots import dot4, fours, negated_where, pairs, pinned, sdot4, words
from localmix.backends.numba.machine.simd import I8, I16, I32, call, const, shuffle, vec
from localmix.backends.numba.passes.records import ZEROS
from localmix.backends.numba.products.codes import Codes

INTS, BYTES, WORDS = vec(I32, 16), vec(I8, 64), vec(I16, 32)


class Operand(Protocol):
    """The activations that one vector of 64 codes is multiplied with."""

    def bytes(self, b: ir.IRBuilder, name: str) -> Any:
        """Those of a section, <64 x i8>."""

    def words(self, b: ir.IRBuilder, odd: int) -> Any:
        """Those of 16 bits, <32 x i16>: columns 0, 2, … or 1, 3, …"""


class Sum(Protocol):
    """One sum: `add` all vectors of codes, then ask for the `value`."""

    def add(self, code: Any, x: Operand) -> None: ...

    def value(self) -> Any: ...


Keep = Callable[[ir.IRBuilder, Any], Any]  # dots.pinned, or nothing


def signed(codes: Codes, wide: bool) -> bool:
    """Whether sums are of the signed numbers that codes about 128 stand for, so that there is no zero point."""
    used = isa.active()
    return codes.zero == 128 and ((used.pairs and not wide) or used.name == "neon-dotprod")


def zero_point(b: ir.IRBuilder, codes: Codes, stored: Any) -> Any:
    """What the zero point of the codes of groups takes off, made of the stored sums of their activations."""
    own, usual = codes.zero.bit_length(), ZEROS[codes.group].bit_length()
    by = const(stored.type, abs(own - usual))
    return stored if own == usual else b.shl(stored, by) if own > usual else b.ashr(stored, by)


def begin(b: ir.IRBuilder, codes: Codes, wide: bool, start: Any = None, *, many: bool = False) -> Sum:
    """The sum of code · x, activations x of 8 bits or, wide, of 16, from `start` on.

    `many`: one of several that are made side by side from the same codes. They must fit into the registers, and LLVM
    must leave them as they are written.
    """
    started = const(INTS, 0) if start is None else start
    by_pairs = isa.active().pairs
    hold: Keep = pinned if many and "avx2" in isa.active().needs else lambda b, x: x
    if not wide:
        return _narrow(b, codes, started, "values", hold)
    if by_pairs and (many or codes.zero == 128):
        return _ByWords(b, started, hold)
    return _OfTwoBytes(b, codes, started)


def _narrow(b: ir.IRBuilder, codes: Codes, start: Any, section: str, hold: Keep) -> Sum:
    if signed(codes, wide=False):
        return _Signed(b, start, section, hold)
    if isa.active().pairs:
        return _ByPairs(b, start, section, codes.most, hold)
    return _Plain(b, start, section, hold)


def folded(b: ir.IRBuilder, sums: Sequence[Sum]) -> Any:
    """Four sums as one vector: in each quarter one of the first, of the next, … Those of pairs are added in 16 bits as
    long as these hold them.
    """
    pairs_ = [own for own in sums if isinstance(own, _ByPairs) and own.room() >= 2]
    if len(pairs_) < len(sums):
        return _fold(b, [own.value() for own in sums])
    if all(own.room() >= 4 for own in pairs_):
        return fours(b, _fold(b, [own.pairs for own in pairs_]))
    one, two = (_together(b, x.pairs, y.pairs, 1) for x, y in (pairs_[:2], pairs_[2:]))
    return _fold(b, [fours(b, one), fours(b, two)])


def _fold(b: ir.IRBuilder, vectors: Sequence[Any]) -> Any:
    """The same of vectors, or what is left when two and two of them are one."""
    while len(vectors) > 1:
        width = 4 // len(vectors)
        vectors = [_together(b, x, y, width) for x, y in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _together(b: ir.IRBuilder, x: Any, y: Any, width: int) -> Any:
    """The halves of each quarter added, lanes of 32 bits, which may be two sums: `width` of x, then of y, in turn."""
    low = [16 * (j // width % 2) + j // 4 * 4 + j % 4 // (2 * width) * width + j % width for j in range(16)]
    ints = b.bitcast(x, INTS), b.bitcast(y, INTS)
    first, second = (b.bitcast(shuffle(b, ints[0], [lane + at for lane in low], ints[1]), x.type) for at in (0, 2))
    return b.add(first, second)


class _Plain:
    """Every product is added in 32 bits at once."""

    def __init__(self, b: ir.IRBuilder, start: Any, section: str, hold: Keep) -> None:
        self._b, self._total, self._section, self._hold = b, start, section, hold

    def add(self, code: Any, x: Operand) -> None:
        b = self._b
        self._total = self._hold(b, dot4(b, self._total, code, x.bytes(b, self._section)))

    def value(self) -> Any:
        return self._total


class _ByPairs:
    """Sums of two products in 16 bits, as many of them as 16 bits hold, then once in 32."""

    def __init__(self, b: ir.IRBuilder, start: Any, section: str, most: int, hold: Keep) -> None:
        self._b, self._total, self._section, self._hold = b, start, section, hold
        self._room = (1 << 15) // (2 * 128 * most)
        self.pairs, self._added = None, 0

    def add(self, code: Any, x: Operand) -> None:
        b, new = self._b, pairs(self._b, code, x.bytes(self._b, self._section))
        self.pairs = new if self.pairs is None else self._hold(b, b.add(self.pairs, new))
        self._added += 1
        if self._added % self._room == 0:
            self._flush()

    def room(self) -> int:
        """How many such sums 16 bits hold together; 0: there is more to this one than `pairs`."""
        return self._room // self._added if 0 < self._added < self._room else 0

    def value(self) -> Any:
        self._flush()
        return self._total

    def _flush(self) -> None:
        if self.pairs is not None:
            self._total = self._b.add(self._total, fours(self._b, self.pairs))
            self.pairs = None


class _Signed:
    """Codes about 128 as the signed numbers that they stand for."""

    def __init__(self, b: ir.IRBuilder, start: Any, section: str, hold: Keep) -> None:
        self._b, self._total, self._section, self._hold = b, start, section, hold

    def add(self, code: Any, x: Operand) -> None:
        b, number = self._b, self._b.xor(code, const(BYTES, 0x80))
        other = x.bytes(b, self._section)
        if not isa.active().pairs:
            self._total = sdot4(b, self._total, number, other)
            return
        size = call(b, "llvm.abs.v64i8", BYTES, number, ir.Constant(ir.IntType(1), 0))
        self._total = self._hold(b, b.add(self._total, fours(b, pairs(b, size, negated_where(b, number, other)))))

    def value(self) -> Any:
        return self._total


class _OfTwoBytes:
    """Activations of 16 bits as two bytes: 256 · high + low."""

    def __init__(self, b: ir.IRBuilder, codes: Codes, start: Any) -> None:
        self._b = b
        self._high = _narrow(b, codes, const(INTS, 0), "values", lambda b, x: x)
        self._low = _narrow(b, codes, start, "low", lambda b, x: x)

    def add(self, code: Any, x: Operand) -> None:
        self._high.add(code, x)
        self._low.add(code, x)

    def value(self) -> Any:
        b = self._b
        return b.add(self._low.value(), b.shl(self._high.value(), const(INTS, 8)))


class _ByWords:
    """Activations of 16 bits times codes made 16 bits wide: of each two codes the even and the odd one."""

    def __init__(self, b: ir.IRBuilder, start: Any, hold: Keep) -> None:
        self._b, self._total, self._hold = b, start, hold

    def add(self, code: Any, x: Operand) -> None:
        b, wide = self._b, self._b.bitcast(code, WORDS)
        for odd, half in enumerate((b.and_(wide, const(WORDS, 0xFF)), b.lshr(wide, const(WORDS, 8)))):
            self._total = self._hold(b, b.add(self._total, words(b, half, x.words(b, odd))))

    def value(self) -> Any:
        return self._total
