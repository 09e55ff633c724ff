"""Q2_K for the kernels: see quant/q2_k.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, I8, const, load, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels
from localmix.backends.numba.products.scales import bits_of, half, scaled, two_halves_of_rows, words_of_rows


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    p = blocks[0]
    packed = load(b, vec(I8, 16), p, offset("q2_k", "scales"))
    low = b.uitofp(b.and_(packed, const(packed.type, 15)), vec(F32, 16))
    high = b.uitofp(b.lshr(packed, const(packed.type, 4)), vec(F32, 16))
    return b.fmul(low, half(b, p, "q2_k", "d", 16)), b.fmul(high, half(b, p, "q2_k", "dmin", 16))


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    words = words_of_rows(b, rows, offset("q2_k", "scales"), 4)
    nibbles = [bits_of(b, word, at, 4) for word in words for at in range(0, 32, 4)]
    d, dmin = two_halves_of_rows(b, rows, "q2_k")
    return [scaled(b, v, d) for v in nibbles[::2]], [scaled(b, v, dmin) for v in nibbles[1::2]]


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("q2_k", scales, row_scales))
