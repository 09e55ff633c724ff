"""F32 for the kernels."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, load, vec
from localmix.backends.numba.products.floats import kernels


def widen(b: ir.IRBuilder, address: Any, lanes: int) -> Any:
    return load(b, vec(F32, lanes) if lanes else F32, address)


gemv, gemm, rows = kernels(4, widen)
