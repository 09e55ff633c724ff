"""Q4_0 for the kernels: see quant/q4_0.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.fields import fields, halves, inside
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    return (
        fields(b, inside(b, p, "q4_0", "qs", 16) + inside(b, q, "q4_0", "qs", 16), bits=4, run=16),
        halves(b, p, q, "q4_0", "d"),
        None,
    )


gemv, gemm, row = kernels(Codes("q4_0", group=32, zero=8, emit=emit))
