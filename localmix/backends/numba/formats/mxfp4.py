"""MXFP4 for the kernels: see quant/mxfp4.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import F32, I8, I32, call, const, join, load, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    at, lanes = offset("mxfp4", "e"), len(blocks)
    e = b.zext(join(b, [load(b, vec(I8, 1), p, at) for p in blocks]), vec(I32, lanes))
    of = lambda v: const(e.type, v)  # noqa: E731
    normal = b.shl(b.sub(e, of(1)), of(23))  # 2^(e - 128): the exponent field is e - 1
    bits = b.select(b.icmp_unsigned("<", e, of(2)), b.shl(of(0x200000), e), normal)
    return b.bitcast(bits, vec(F32, lanes)), None


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """0 for the two that are no normal numbers: what units add to each leaves nothing of the difference."""
    e = join(b, [load(b, vec(I8, 1), p, offset("mxfp4", "e")) for p in rows])
    less = call(b, "llvm.usub.sat.v16i8", e.type, e, const(e.type, 1))
    bits = b.shl(b.zext(less, vec(I32, 16)), const(vec(I32, 16), 23))
    return [b.bitcast(bits, vec(F32, 16))], [None]


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("mxfp4", scales, row_scales))
