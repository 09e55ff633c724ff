"""Q5_K for the kernels: see quant/q5_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, scales_and_minima
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import const


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    low = fields(b, p, offset("q5_k", "qs"), 256, bits=4, run=32)
    high = fields(b, p, offset("q5_k", "qh"), 256, bits=1, run=32)
    codes = [b.or_(x, b.shl(y, const(y.type, 4))) for x, y in zip(low, high, strict=True)]
    return codes, *scales_and_minima(b, p, "q5_k")


gemv, gemm, row = kernels(Codes("q5_k", group=32, zero=0, emit=emit))
