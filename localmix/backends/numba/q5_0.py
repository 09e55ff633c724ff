"""Q5_0 for the kernels: see quant/q5_0.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, fifth_bits, halves, inside
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    (low,) = fields(b, inside(b, p, "q5_0", "qs", 16) + inside(b, q, "q5_0", "qs", 16), bits=4, run=16)
    codes = b.or_(low, fifth_bits(b, p, q, offset("q5_0", "qh")))
    return [codes], halves(b, p, q, "q5_0", "d"), None


gemv, gemm, row = kernels(Codes("q5_0", group=32, zero=16, emit=emit))
