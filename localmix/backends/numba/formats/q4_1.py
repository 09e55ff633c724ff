"""Q4_1 for the kernels: see quant/q4_1.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.products.codes import Bits, Codes
from localmix.backends.numba.products.fields import halves, two_halves_of_rows
from localmix.backends.numba.products.kernels import kernels


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    return halves(b, blocks, "q4_1", "d"), b.fneg(halves(b, blocks, "q4_1", "m"))


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    d, m = two_halves_of_rows(b, rows, "q4_1")
    return [d], [b.fneg(m)]


gemv, gemm, row, gemv16, gemm16 = kernels(
    Codes("q4_1", group=32, zero=0, parts=(Bits("qs", bits=4, run=16),), scales=scales, row_scales=row_scales)
)
