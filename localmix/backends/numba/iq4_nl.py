"""IQ4_NL for the kernels: see quant/iq4_nl.py. Levels become codes about 128."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.codes import Codes
from localmix.backends.numba.dots import lookup16
from localmix.backends.numba.fields import fields, halves, inside
from localmix.backends.numba.kernels import kernels
from quant.iq4_nl import LEVELS

TABLE = [int(level) + 128 for level in LEVELS]


def emit(b: ir.IRBuilder, p: Any, q: Any) -> tuple[list[Any], Any, Any]:
    indices = fields(b, inside(b, p, "iq4_nl", "qs", 16) + inside(b, q, "iq4_nl", "qs", 16), bits=4, run=16)
    codes = [lookup16(b, TABLE, index) for index in indices]
    return codes, halves(b, p, q, "iq4_nl", "d"), None


gemv, gemm, row = kernels(Codes("iq4_nl", group=32, zero=128, emit=emit))
