"""MXFP4 for the kernels: see quant/mxfp4.py. Levels become codes about 16."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.dots import lookup16
from localmix.backends.numba.fields import fields, one
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, I8, I32, load
from quant.mxfp4 import LEVELS

TABLE = [int(level) + 16 for level in LEVELS]


def emit(b: ir.IRBuilder, p: Any) -> tuple[list[Any], Any, Any]:
    codes = [lookup16(b, TABLE, index) for index in fields(b, p, offset("mxfp4", "qs"), 32, bits=4, run=16)]
    e = b.zext(load(b, I8, p, offset("mxfp4", "e")), I32)
    normal = b.shl(b.sub(e, I32(1)), I32(23))  # 2^(e - 128): the exponent field is e - 1
    subnormal = b.shl(I32(0x200000), e)
    bits = b.select(b.icmp_unsigned("<", e, I32(2)), subnormal, normal)
    return codes, one(b, b.bitcast(bits, F32)), None


gemv, gemm, row = kernels(Codes("mxfp4", group=32, zero=16, emit=emit))
