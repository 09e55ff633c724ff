"""Q2_K for the kernels: see quant/q2_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, half, inside
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, I8, const, load, splat, vec


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    packed = load(b, vec(I8, 16), p, offset("q2_k", "scales"))
    scales = b.uitofp(b.and_(packed, const(packed.type, 15)), vec(F32, 16))
    minima = b.uitofp(b.lshr(packed, const(packed.type, 4)), vec(F32, 16))
    d, dmin = (splat(b, half(b, p, "q2_k", name), 16) for name in ("d", "dmin"))
    return fields(b, inside(b, p, "q2_k", "qs", 32), bits=2, run=32), b.fmul(scales, d), b.fmul(minima, dmin)


gemv, gemm, row = kernels(Codes("q2_k", group=16, zero=0, emit=emit))
