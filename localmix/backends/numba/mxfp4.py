"""MXFP4 for the kernels: see quant/mxfp4.py. Levels become codes about 16."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.dots import lookup16
from localmix.backends.numba.fields import fields, inside
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, I8, I32, const, load, splat, vec
from quant.mxfp4 import LEVELS

TABLE = [int(level) + 16 for level in LEVELS]


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    indices = fields(b, inside(b, p, "mxfp4", "qs", 16) + inside(b, q, "mxfp4", "qs", 16), bits=4, run=16)
    codes = [lookup16(b, TABLE, index) for index in indices]
    at = offset("mxfp4", "e")
    e = b.insert_element(splat(b, load(b, I8, p, at), 2), load(b, I8, q, at), I32(1))
    e = b.zext(e, vec(I32, 2))
    of = lambda v: const(e.type, v)  # noqa: E731
    normal = b.shl(b.sub(e, of(1)), of(23))  # 2^(e - 128): the exponent field is e - 1
    bits = b.select(b.icmp_unsigned("<", e, of(2)), b.shl(of(0x200000), e), normal)
    return codes, b.bitcast(bits, vec(F32, 2)), None


gemv, gemm, row = kernels(Codes("mxfp4", group=32, zero=16, emit=emit))
