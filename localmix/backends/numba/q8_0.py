"""Q8_0 for the kernels: see quant/q8_0.py. Signed bytes become codes about 128."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import halves
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import I8, concat, const, load, vec


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    signed = concat(b, *(load(b, vec(I8, 32), a, offset("q8_0", "qs")) for a in (p, q)))
    return [b.xor(signed, const(signed.type, 0x80))], halves(b, p, q, "q8_0", "d"), None


gemv, gemm, row = kernels(Codes("q8_0", group=32, zero=128, emit=emit))
