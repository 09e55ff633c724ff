"""Q4_K for the kernels: see quant/q4_k.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import fields, scales_and_minima
from localmix.backends.numba.kernels import kernels


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    return fields(b, p, offset("q4_k", "qs"), 256, bits=4, run=32), *scales_and_minima(b, p, "q4_k")


gemv, gemm, row = kernels(Codes("q4_k", group=32, zero=0, emit=emit))
