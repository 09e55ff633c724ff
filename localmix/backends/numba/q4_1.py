"""Q4_1 for the kernels: see quant/q4_1.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, half, one
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    minimum = b.fneg(half(b, p, "q4_1", "m"))
    return fields(b, p, offset("q4_1", "qs"), 32, bits=4, run=16), one(b, half(b, p, "q4_1", "d")), one(b, minimum)


gemv, gemm, row = kernels(Codes("q4_1", group=32, zero=0, emit=emit))
