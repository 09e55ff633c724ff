"""IQ4_XS for the kernels: see quant/iq4_xs.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Bits, Codes, offset
from localmix.backends.numba.fields import half, small
from localmix.backends.numba.iq4_nl import finish
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, const, vec


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    p = blocks[0]
    low = small(b, p, offset("iq4_xs", "scales_l"), 8, bits=4, run=1)
    high = small(b, p, offset("iq4_xs", "scales_h"), 8, bits=2, run=1)
    six = b.or_(low, b.shl(high, const(high.type, 4)))
    signed = b.sitofp(b.sub(six, const(six.type, 32)), vec(F32, 8))
    return b.fmul(signed, half(b, p, "iq4_xs", "d", 8)), None


gemv, gemm, row, gemv16, gemm16 = kernels(
    Codes("iq4_xs", group=32, zero=128, parts=(Bits("qs", bits=4, run=16),), scales=scales, finish=finish)
)
