"""How attention reads what a cache keeps: numbers of a head's row, 16 or 32 at a time, as floats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.dots import hardware_half, lookup16
from localmix.backends.numba.machine.simd import (
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
from quant import iq4_nl

LEVELS = list(iq4_nl.LEVELS)
FLOATS, INTS = vec(F32, 16), vec(I32, 16)


@dataclass(frozen=True)
class Stored:
    """A kind of keys and values. Of blocks both halves are read together: they share a scale, and even bytes."""

    bytes: float  # a number takes
    load16: Callable[[ir.IRBuilder, Any, Any], Any]  # (builder, address of the row, column) to 16 lanes
    load32: Callable[[ir.IRBuilder, Any, Any], Sequence[Any]] | None = None  # to two vectors, where columns are blocks

    @property
    def vectors(self) -> int:
        """How many vectors are best read together."""
        return 1 if self.load32 is None else 2

    def load(self, b: ir.IRBuilder, row: Any, column: Any, vectors: int) -> list[Any]:
        """Vectors of 16 lanes from a column on, which begins a block where there are two or more."""
        if self.load32 is None or vectors % 2:
            return [self.load16(b, row, b.add(column, I64(16 * v))) for v in range(vectors)]
        return [vector for v in range(0, vectors, 2) for vector in self.load32(b, row, b.add(column, I64(16 * v)))]


def _f32(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    return load(b, FLOATS, b.add(row, b.shl(column, I64(2))))


def _f16(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    return half_to_float(b, load(b, vec(I16, 16), b.add(row, b.shl(column, I64(1)))), hardware_half())


def _block(b: ir.IRBuilder, row: Any, column: Any, size: int) -> tuple[Any, Any]:
    """The address of the block of a column, and its scale in 16 lanes."""
    block = b.add(row, b.mul(b.lshr(column, I64(5)), I64(size)))
    return block, splat(b, half_to_float(b, load(b, I16, block), hardware_half()), 16)


def _scaled(b: ir.IRBuilder, values: Any, scale: Any) -> Any:
    return b.fmul(b.sitofp(values, FLOATS), scale)


def _q8_0(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    block, scale = _block(b, row, column, 34)
    values = load(b, vec(I8, 16), b.add(block, b.and_(column, I64(16))), 2)
    return _scaled(b, b.sext(values, INTS), scale)


def _q8_0_block(b: ir.IRBuilder, row: Any, column: Any) -> list[Any]:
    block, scale = _block(b, row, column, 34)
    return [_scaled(b, b.sext(load(b, vec(I8, 16), block, at), INTS), scale) for at in (2, 18)]


def _q4_0(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    """The first 16 columns of a block are low bits."""
    block, scale = _block(b, row, column, 18)
    shift = splat(b, b.trunc(b.lshr(b.and_(column, I64(16)), I64(2)), I16), 8)
    bits = b.bitcast(b.lshr(load(b, vec(I16, 8), block, 2), shift), vec(I8, 16))
    levels = lookup16(b, LEVELS, shuffle(b, b.and_(bits, const(bits.type, 15)), [i % 16 for i in range(32)]))
    return _scaled(b, b.sext(shuffle(b, levels, range(16)), INTS), scale)


def _q4_0_block(b: ir.IRBuilder, row: Any, column: Any) -> list[Any]:
    block, scale = _block(b, row, column, 18)
    bits = load(b, vec(I8, 16), block, 2)
    codes = concat(b, b.and_(bits, const(bits.type, 15)), b.lshr(bits, const(bits.type, 4)))
    levels = lookup16(b, LEVELS, codes)
    return [_scaled(b, b.sext(shuffle(b, levels, range(at, at + 16)), INTS), scale) for at in (0, 16)]


f32, f16 = Stored(4, _f32), Stored(2, _f16)
q8_0, q4_0 = Stored(34 / 32, _q8_0, _q8_0_block), Stored(18 / 32, _q4_0, _q4_0_block)
