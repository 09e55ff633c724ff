"""F16 for the kernels."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.dots import hardware_half
from localmix.backends.numba.machine.simd import I16, half_to_float, load, vec
from localmix.backends.numba.products.floats import kernels


def widen(b: ir.IRBuilder, address: Any, lanes: int) -> Any:
    return half_to_float(b, load(b, vec(I16, lanes) if lanes else I16, address), hardware_half())


gemv, gemm, rows = kernels(2, widen)
