"""Q5_K for the kernels: see quant/q5_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.fields import fields, inside, scales_and_minima
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    low = fields(b, inside(b, p, "q5_k", "qs", 32), bits=4, run=32)
    high = fields(b, inside(b, p, "q5_k", "qh", 32), bits=1, run=32, at=4)
    codes = [b.or_(x, y) for x, y in zip(low, high, strict=True)]
    return codes, *scales_and_minima(b, p, "q5_k")


gemv, gemm, row = kernels(Codes("q5_k", group=32, zero=0, emit=emit))
