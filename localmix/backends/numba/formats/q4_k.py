"""Q4_K for the kernels: see quant/q4_k.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.products.codes import Codes
from localmix.backends.numba.products.kernels import kernels
from localmix.backends.numba.products.scales import scales_and_minima, scales_and_minima_of_rows


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    return scales_and_minima(b, blocks[0], "q4_k")


def row_scales(b: ir.IRBuilder, rows: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    return scales_and_minima_of_rows(b, rows, "q4_k")


gemv, gemm, rows, gemv16, gemm16 = kernels(Codes("q4_k", scales, row_scales))
