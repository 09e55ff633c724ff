"""Q3_K for the kernels: see quant/q3_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, half, small
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, const, splat, vec


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    low = fields(b, p, offset("q3_k", "qs"), 256, bits=2, run=32)
    high = fields(b, p, offset("q3_k", "hmask"), 256, bits=1, run=32)
    codes = [b.or_(x, b.shl(y, const(y.type, 2))) for x, y in zip(low, high, strict=True)]
    at = offset("q3_k", "scales")
    nibbles, upper = small(b, p, at, 16, bits=4, run=8), small(b, p, at + 8, 16, bits=2, run=4)
    six = b.or_(nibbles, b.shl(upper, const(upper.type, 4)))
    scales = b.sitofp(b.sub(six, const(six.type, 32)), vec(F32, 16))
    return codes, b.fmul(scales, splat(b, half(b, p, "q3_k", "d"), 16)), None


gemv, gemm, row = kernels(Codes("q3_k", group=16, zero=4, emit=emit))
