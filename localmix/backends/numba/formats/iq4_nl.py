"""IQ4_NL for the kernels: see quant/iq4_nl.py. Levels become codes about 128."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.dots import lookup16
from localmix.backends.numba.products.codes import Bits, Codes
from localmix.backends.numba.products.fields import halves
from localmix.backends.numba.products.kernels import kernels
from quant.iq4_nl import LEVELS

TABLE = [int(level) + 128 for level in LEVELS]


def scales(b: ir.IRBuilder, blocks: Sequence[Any]) -> tuple[Any, Any]:
    return halves(b, blocks, "iq4_nl", "d"), None


def finish(b: ir.IRBuilder, x: Any) -> Any:
    return lookup16(b, TABLE, x)


gemv, gemm, row, gemv16, gemm16 = kernels(
    Codes("iq4_nl", group=32, zero=128, parts=(Bits("qs", bits=4, run=16),), scales=scales, finish=finish)
)
