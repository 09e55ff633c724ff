"""MXFP4 for the kernels: see quant/mxfp4.py. Levels become codes about 16."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.dots import lookup16
from localmix.backends.numba.machine.simd import F32, I8, I32, const, join, load, vec
from localmix.backends.numba.products.codes import Bits, Codes, offset
from localmix.backends.numba.products.kernels import kernels
from quant.mxfp4 import LEVELS

TABLE = [int(level) + 16 for level in LEVELS]


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    at, lanes = offset("mxfp4", "e"), len(blocks)
    e = b.zext(join(b, [load(b, vec(I8, 1), p, at) for p in blocks]), vec(I32, lanes))
    of = lambda v: const(e.type, v)  # noqa: E731
    normal = b.shl(b.sub(e, of(1)), of(23))  # 2^(e - 128): the exponent field is e - 1
    bits = b.select(b.icmp_unsigned("<", e, of(2)), b.shl(of(0x200000), e), normal)
    return b.bitcast(bits, vec(F32, lanes)), None


def finish(b: ir.IRBuilder, x: Any) -> Any:
    return lookup16(b, TABLE, x)


gemv, gemm, row, gemv16, gemm16 = kernels(
    Codes("mxfp4", group=32, zero=16, parts=(Bits("qs", bits=4, run=16),), scales=scales, finish=finish)
)
