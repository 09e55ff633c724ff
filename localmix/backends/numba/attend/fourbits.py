"""Keys and values in 4 bits, as engine/fourbits.py defines them, and what queries are multiplied with."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import (
    F32,
    I8,
    call,
    const,
    float_to_half,
    fma,
    inverse_scale,
    load,
    shuffle,
    splat,
    store,
    sum_lanes,
    vec,
)
from localmix.backends.numba.machine.words import int64, void, word
from localmix.engine.fourbits import BLOCK, BOUNDS, ENDS, LEVELS

FLOATS, BYTES = vec(F32, BLOCK), vec(I8, BLOCK)


@word(void, int64)
def spread32(b: ir.IRBuilder, at: Any) -> None:
    """32 floats times Hadamard's matrix over √32, in place."""
    x = load(b, FLOATS, at, align=4)
    for distance in (16, 8, 4, 2, 1):
        signs = const(FLOATS, [-1.0 if i & distance else 1.0 for i in range(BLOCK)])
        x = fma(b, x, signs, shuffle(b, x, [i ^ distance for i in range(BLOCK)]))
    store(b, b.fmul(x, const(FLOATS, BLOCK**-0.5)), at, align=4)


@word(void, int64, int64)
def store_q4_0(b: ir.IRBuilder, source: Any, block: Any) -> None:
    """The 32 floats at `source` as a block: float16 scale, then codes, those of the first 16 floats the low bits."""
    x = load(b, FLOATS, source, align=4)
    high, low = (call(b, f"llvm.vector.reduce.{end}.v32f32", F32, x, flags=("nnan",)) for end in ("fmax", "fmin"))
    largest = b.select(b.fcmp_ordered(">", high, b.fneg(low)), high, low)
    inverses = [inverse_scale(b, largest, float(end)) for end in ENDS]
    fits = [_fit(b, x, b.fmul(x, splat(b, inverse, BLOCK))) for inverse in inverses]
    second = b.fcmp_ordered(">", fits[1][0], fits[0][0])
    (_, one), (_, other) = fits
    store(b, float_to_half(b, b.select(second, other, one)), block)
    codes = _codes(b, b.fmul(x, splat(b, b.select(second, inverses[1], inverses[0]), BLOCK)))
    halves = [shuffle(b, codes, range(at, at + 16)) for at in (0, 16)]
    store(b, b.or_(halves[0], b.shl(halves[1], const(halves[1].type, 4))), block, 2)


def _fit(b: ir.IRBuilder, x: Any, scaled: Any) -> tuple[Any, Any]:
    """How much of the square sum of x its nearest levels take, and the scale with which they do."""
    levels = const(FLOATS, float(LEVELS[0]))
    for bound, step in zip(BOUNDS, LEVELS[1:] - LEVELS[:-1], strict=True):
        above = b.fcmp_ordered(">", scaled, const(FLOATS, float(bound)))
        levels = b.fadd(levels, b.select(above, const(FLOATS, float(step)), const(FLOATS, 0.0)))
    product, square = sum_lanes(b, b.fmul(x, levels)), sum_lanes(b, b.fmul(levels, levels))
    return b.fdiv(b.fmul(product, product), square), b.fdiv(product, square)


def _codes(b: ir.IRBuilder, scaled: Any) -> Any:
    """How many bounds between levels lie below each lane, as bytes."""
    codes = const(BYTES, 0)
    for bound in BOUNDS:
        above = b.fcmp_ordered(">", scaled, const(FLOATS, float(bound)))
        codes = b.add(codes, b.zext(above, BYTES))
    return codes
