"""Q4_K for the kernels: see quant/q4_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.fields import fields, inside, scales_and_minima
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    return fields(b, inside(b, p, "q4_k", "qs", 32), bits=4, run=32), *scales_and_minima(b, p, "q4_k")


gemv, gemm, row = kernels(Codes("q4_k", group=32, zero=0, emit=emit))
