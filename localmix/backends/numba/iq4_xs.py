"""IQ4_XS for the kernels: see quant/iq4_xs.py."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes, offset
from localmix.backends.numba.dots import lookup16
from localmix.backends.numba.fields import fields, half, inside, small
from localmix.backends.numba.iq4_nl import TABLE
from localmix.backends.numba.kernels import kernels
from localmix.backends.numba.simd import F32, const, splat, vec


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    codes = [lookup16(b, TABLE, index) for index in fields(b, inside(b, p, "iq4_xs", "qs", 16), bits=4, run=16)]
    low = small(b, p, offset("iq4_xs", "scales_l"), 8, bits=4, run=1)
    high = small(b, p, offset("iq4_xs", "scales_h"), 8, bits=2, run=1)
    six = b.or_(low, b.shl(high, const(high.type, 4)))
    scales = b.sitofp(b.sub(six, const(six.type, 32)), vec(F32, 8))
    return codes, b.fmul(scales, splat(b, half(b, p, "iq4_xs", "d"), 8)), None


gemv, gemm, row = kernels(Codes("iq4_xs", group=32, zero=128, emit=emit))
