"""Q4_1 for the kernels: see quant/q4_1.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.fields import fields, halves, inside
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    codes = fields(b, inside(b, p, "q4_1", "qs", 16) + inside(b, q, "q4_1", "qs", 16), bits=4, run=16)
    return codes, halves(b, p, q, "q4_1", "d"), b.fneg(halves(b, p, q, "q4_1", "m"))


gemv, gemm, row = kernels(Codes("q4_1", group=32, zero=0, emit=emit))
