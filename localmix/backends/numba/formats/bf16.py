"""BF16 for the kernels: the upper half of a float32."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, I16, I32, const, load, vec
from localmix.backends.numba.products.floats import kernels


def widen(b: ir.IRBuilder, address: Any, lanes: int) -> Any:
    of = (lambda e: vec(e, lanes)) if lanes else (lambda e: e)
    wide = b.zext(load(b, of(I16), address), of(I32))
    return b.bitcast(b.shl(wide, const(of(I32), 16)), of(F32))


gemv, gemm, rows = kernels(2, widen)
