"""Q8_0 for the kernels: see quant/q8_0.py. Signed bytes become codes about 128."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.fields import half, one
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import I8, const, load, vec


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    signed = load(b, vec(I8, 32), p, offset("q8_0", "qs"))
    return [b.xor(signed, const(signed.type, 0x80))], one(b, half(b, p, "q8_0", "d")), None


gemv, gemm, row = kernels(Codes("q8_0", group=32, zero=128, emit=emit))
