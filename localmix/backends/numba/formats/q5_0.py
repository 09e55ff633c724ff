"""Q5_0 for the kernels: see quant/q5_0.py."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.products.codes import Bits, Codes
from localmix.backends.numba.products.fields import halves
from localmix.backends.numba.products.kernels import kernels


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    return halves(b, blocks, "q5_0", "d"), None


gemv, gemm, row, gemv16, gemm16 = kernels(
    Codes("q5_0", group=32, zero=16, parts=(Bits("qs", bits=4, run=16), Bits("qh", bits=1, run=1, at=4)), scales=scales)
)
