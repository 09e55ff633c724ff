"""Q3_K for the kernels: see quant/q3_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, half, inside, small
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, const, splat, vec


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    low = fields(b, inside(b, p, "q3_k", "qs", 32), bits=2, run=32)
    high = fields(b, inside(b, p, "q3_k", "hmask", 32), bits=1, run=32, at=2)
    codes = [b.or_(x, y) for x, y in zip(low, high, strict=True)]
    at = offset("q3_k", "scales")
    nibbles, upper = small(b, p, at, 16, bits=4, run=8), small(b, p, at + 8, 16, bits=2, run=4)
    six = b.or_(nibbles, b.shl(upper, const(upper.type, 4)))
    scales = b.sitofp(b.sub(six, const(six.type, 32)), vec(F32, 16))
    return codes, b.fmul(scales, splat(b, half(b, p, "q3_k", "d"), 16)), None


gemv, gemm, row = kernels(Codes("q3_k", group=16, zero=4, emit=emit))
