"""Q8_0 for the kernels: see quant/q8_0.py. Signed bytes become codes about 128."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import const
from localmix.backends.numba.products.codes import Bits, Codes
from localmix.backends.numba.products.fields import halves
from localmix.backends.numba.products.kernels import kernels


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    return halves(b, blocks, "q8_0", "d"), None


def finish(b: ir.IRBuilder, x: Any) -> Any:
    return b.xor(x, const(x.type, 0x80))


gemv, gemm, row, gemv16, gemm16 = kernels(
    Codes("q8_0", group=32, zero=128, parts=(Bits("qs", bits=8, run=32),), scales=scales, finish=finish)
)
