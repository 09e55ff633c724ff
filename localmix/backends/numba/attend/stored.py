"""How attention reads what a cache keeps: 16 numbers of a head's row, as floats."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.dots import hardware_half
from localmix.backends.numba.machine.simd import F32, I8, I16, I32, I64, half_to_float, load, splat, vec


@dataclass(frozen=True)
class Stored:
    """A kind of keys and values."""

    bytes: float  # a number takes
    load16: Callable[[ir.IRBuilder, Any, Any], Any]  # (builder, address of the row, column) to 16 lanes


def _f32(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    return load(b, vec(F32, 16), b.add(row, b.shl(column, I64(2))))


def _f16(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    return half_to_float(b, load(b, vec(I16, 16), b.add(row, b.shl(column, I64(1)))), hardware_half())


def _q8_0(b: ir.IRBuilder, row: Any, column: Any) -> Any:
    """Of Q8_0: 34 bytes for 32 columns."""
    block = b.add(row, b.mul(b.lshr(column, I64(5)), I64(34)))
    scale = half_to_float(b, load(b, I16, block), hardware_half())
    codes = load(b, vec(I8, 16), b.add(block, b.and_(column, I64(16))), 2)
    return b.fmul(b.sitofp(b.sext(codes, vec(I32, 16)), vec(F32, 16)), splat(b, scale, 16))


f32, f16, q8_0 = Stored(4, _f32), Stored(2, _f16), Stored(34 / 32, _q8_0)
