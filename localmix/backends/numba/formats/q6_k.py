"""Q6_K for the kernels: see quant/q6_k.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, I8, const, load, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels
from localmix.backends.numba.products.scales import half, halves, scaled, words_of_rows


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    p = blocks[0]
    signed = b.sitofp(load(b, vec(I8, 16), p, offset("q6_k", "scales")), vec(F32, 16))
    return b.fmul(signed, half(b, p, "q6_k", "d", 16)), None


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    words, d = words_of_rows(b, rows, offset("q6_k", "scales"), 4), halves(b, rows, "q6_k", "d")
    left = [b.shl(word, const(word.type, 24 - at)) for word in words for at in range(0, 32, 8)]
    signed = [b.ashr(byte, const(byte.type, 24)) for byte in left]
    return [scaled(b, v, d) for v in signed], [None] * 16


gemv, gemm, row, gemv16, gemm16 = kernels(Codes("q6_k", scales, row_scales))
