"""Q6_K for the kernels: see quant/q6_k.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, I8, const, load, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels
from localmix.backends.numba.products.scales import bytes_of, half, halves, scaled, words_of_rows


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    p = blocks[0]
    signed = b.sitofp(load(b, vec(I8, 16), p, offset("q6_k", "scales")), vec(F32, 16))
    return b.fmul(signed, half(b, p, "q6_k", "d", 16)), None


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    words, d = words_of_rows(b, rows, offset("q6_k", "scales"), 4), halves(b, rows, "q6_k", "d")
    signed = [byte for word in words for byte in bytes_of(b, word, 3)]  # 2^24 times as large
    d = b.fmul(d, const(d.type, 2.0**-24))
    return [scaled(b, v, d) for v in signed], [None] * 16


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("q6_k", scales, row_scales))
