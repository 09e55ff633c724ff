"""What is between the matrices of an expert: see `localmix.network.blocks.Activation`."""

from typing import Any

import numpy as np
from llvmlite import ir

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import const, exp_vector, larger, smaller
from localmix.backends.numba.machine.words import (
    f32x16,
    load_f32x16,
    splat_f32x16,
    store_f32,
    store_f32x16,
    swiglu16,
    word,
)
from localmix.backends.numba.passes.parts import NOTHING, Record
from localmix.backends.numba.passes.records import ACTIVATIONS

GELU, CLAMPED = ACTIVATIONS.index("gelu"), ACTIVATIONS.index("clamped")


@word(f32x16, f32x16, f32x16)
def geglu16(b: ir.IRBuilder, gate: Any, up: Any) -> Any:
    """GELU(gate) · up in the tanh form, which is gate σ(2 sqrt(2 / π) (gate + 0.044715 gate³)) · up."""
    cubic = b.fmul(b.fmul(gate, gate), const(gate.type, 0.044715))
    inside = b.fmul(b.fmul(gate, b.fadd(cubic, const(gate.type, 1.0))), const(gate.type, -1.5957691216057308))
    return b.fmul(b.fdiv(gate, b.fadd(exp_vector(b, inside), const(gate.type, 1.0))), up)


@word(f32x16, f32x16, f32x16, f32x16, f32x16)
def clamped16(b: ir.IRBuilder, gate: Any, up: Any, alpha: Any, limit: Any) -> Any:
    """g σ(alpha · g) (u + 1), g up to the limit, u within ± the limit."""
    negative = b.fsub(const(gate.type, 0.0), limit)
    g, u = smaller(b, gate, limit), larger(b, smaller(b, up, limit), negative)
    decay = exp_vector(b, b.fsub(const(gate.type, 0.0), b.fmul(alpha, g)))
    return b.fmul(b.fdiv(g, b.fadd(decay, const(gate.type, 1.0))), b.fadd(u, const(gate.type, 1.0)))


@inner
def combine(m: Record, gate: int, up: int, rows: int, out: int) -> None:
    """out = the activation; the buffers have room for whole vectors, and out stays zero beyond the rows."""
    for r in range(rows, (rows + 15) // 16 * 16):
        store_f32(gate + 4 * r, NOTHING)
        store_f32(up + 4 * r, NOTHING)
    if m.kind == CLAMPED:
        alpha, limit = splat_f32x16(np.float32(m.alpha)), splat_f32x16(np.float32(m.limit))
        for r in range(0, rows, 16):
            hidden = clamped16(load_f32x16(gate + 4 * r), load_f32x16(up + 4 * r), alpha, limit)
            store_f32x16(out + 4 * r, hidden)
    elif m.kind == GELU:
        for r in range(0, rows, 16):
            store_f32x16(out + 4 * r, geglu16(load_f32x16(gate + 4 * r), load_f32x16(up + 4 * r)))
    else:
        for r in range(0, rows, 16):
            store_f32x16(out + 4 * r, swiglu16(load_f32x16(gate + 4 * r), load_f32x16(up + 4 * r)))
