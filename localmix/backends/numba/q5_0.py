"""Q5_0 for the kernels: see quant/q5_0.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, fifth_bits, half, one
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    (low,) = fields(b, p, offset("q5_0", "qs"), 32, bits=4, run=16)
    codes = b.or_(low, fifth_bits(b, p, offset("q5_0", "qh")))
    return [codes], one(b, half(b, p, "q5_0", "d")), None


gemv, gemm, row = kernels(Codes("q5_0", group=32, zero=16, emit=emit))
