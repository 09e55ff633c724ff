"""IQ4_XS for the kernels: see quant/iq4_xs.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.dots import hardware_half
from localmix.backends.numba.machine.simd import F32, I16, const, half_to_float, vec
from localmix.backends.numba.products.codes import Codes, offset
from localmix.backends.numba.products.kernels import kernels
from localmix.backends.numba.products.scales import half, scaled, six_bits_of, small, words_of_rows


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    p = blocks[0]
    low = small(b, p, offset("iq4_xs", "scales_l"), 8, bits=4, run=1)
    high = small(b, p, offset("iq4_xs", "scales_h"), 8, bits=2, run=1)
    six = b.or_(low, b.shl(high, const(high.type, 4)))
    signed = b.sitofp(b.sub(six, const(six.type, 32)), vec(F32, 8))
    return b.fmul(signed, half(b, p, "iq4_xs", "d", 8)), None


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    first, low = words_of_rows(b, rows, offset("iq4_xs", "d"), 2)  # first: d, then scales_h
    d, scales_ = half_to_float(b, b.trunc(first, vec(I16, 16)), hardware_half()), []
    for g in range(8):
        six = six_bits_of(b, low, 4 * g, first, 16 + 2 * g)
        scales_.append(scaled(b, b.sub(six, const(six.type, 32)), d))
    return scales_, [None] * 8


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("iq4_xs", scales, row_scales))
