"""Q6_K for the kernels: see quant/q6_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, half, inside
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, I8, load, splat, vec


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    low = fields(b, inside(b, p, "q6_k", "ql", 64), bits=4, run=64)
    high = fields(b, inside(b, p, "q6_k", "qh", 32), bits=2, run=32, at=4)
    codes = [b.or_(x, y) for x, y in zip(low, high, strict=True)]
    scales = b.sitofp(load(b, vec(I8, 16), p, offset("q6_k", "scales")), vec(F32, 16))
    return codes, b.fmul(scales, splat(b, half(b, p, "q6_k", "d"), 16)), None


gemv, gemm, row = kernels(Codes("q6_k", group=16, zero=32, emit=emit))
