"""MXFP4 for the kernels: see quant/mxfp4.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, I8, I32, const, join, load, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    at, lanes = offset("mxfp4", "e"), len(blocks)
    e = b.zext(join(b, [load(b, vec(I8, 1), p, at) for p in blocks]), vec(I32, lanes))
    of = lambda v: const(e.type, v)  # noqa: E731
    normal = b.shl(b.sub(e, of(1)), of(23))  # 2^(e - 128): the exponent field is e - 1
    bits = b.select(b.icmp_unsigned("<", e, of(2)), b.shl(of(0x200000), e), normal)
    return b.bitcast(bits, vec(F32, lanes)), None


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("mxfp4", scales))
