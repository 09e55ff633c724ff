"""Q3_K for the kernels: see quant/q3_k.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, const, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels
from localmix.backends.numba.products.scales import half, halves, scaled, six_bits_of, small, words_of_rows


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    p, at = blocks[0], offset("q3_k", "scales")
    low, high = small(b, p, at, 16, bits=4, run=8), small(b, p, at + 8, 16, bits=2, run=4)
    six = b.or_(low, b.shl(high, const(high.type, 4)))
    signed = b.sitofp(b.sub(six, const(six.type, 32)), vec(F32, 16))
    return b.fmul(signed, half(b, p, "q3_k", "d", 16)), None


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    _, *low, high = words_of_rows(b, rows, offset("q3_k", "scales") - 4, 4)  # four, and none beyond the block
    d, scales_ = halves(b, rows, "q3_k", "d"), []
    for g in range(16):
        six = six_bits_of(b, low[g // 4 % 2], g % 4 * 8 + g // 8 * 4, high, g % 4 * 8 + g // 4 * 2)
        scales_.append(scaled(b, b.sub(six, const(six.type, 32)), d))
    return scales_, [None] * 16


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("q3_k", scales, row_scales))
