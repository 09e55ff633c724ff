"""Activations as int8 with a float32 scale for each 32: what the integer products are made with."""

from typing import Any

from llvmlite import ir

from localmix.backends.numba.dots import sums4
from localmix.backends.numba.simd import (
    F32,
    I8,
    I32,
    I64,
    call,
    concat,
    const,
    int64,
    load,
    shuffle,
    splat,
    store,
    vec,
    void,
    word,
)


@word(void, int64, int64, int64, int64)
def quantize64(b: ir.IRBuilder, source: Any, row: Any, p: Any, k: Any) -> None:
    """Quantize the 64 floats at `source` into the row (see layout.quantized_bytes) of padded width p, at column k."""
    quantized, scales = [], []
    for half in (0, 1):
        x = load(b, vec(F32, 32), source, 128 * half, align=4)
        largest = call(
            b, "llvm.vector.reduce.fmax.v32f32", F32, call(b, "llvm.fabs.v32f32", x.type, x), flags=("nnan",)
        )
        empty = b.fcmp_ordered("==", largest, const(F32, 0.0))
        inverse = b.select(empty, const(F32, 0.0), b.fdiv(const(F32, 127.0), largest))
        rounded = call(b, "llvm.rint.v32f32", x.type, b.fmul(x, splat(b, inverse, 32)))
        quantized.append(b.trunc(b.fptosi(rounded, vec(I32, 32)), vec(I8, 32)))
        scales.append(b.fmul(largest, const(F32, 1 / 127)))
    q = concat(b, *quantized)
    sums = sums4(b, q)  # <16 x i32>
    at = lambda start, size: b.add(row, b.add(start, b.lshr(b.mul(k, I64(size)), I64(5))))  # noqa: E731
    p2, p8 = b.shl(p, I64(1)), b.lshr(p, I64(3))
    store(b, q, b.add(row, k))
    store(b, b.neg(sums), b.add(row, b.add(p, k)))
    d = b.insert_element(splat(b, scales[0], 2), scales[1], I32(1))
    store(b, d, at(p2, 4))
    pairs = b.add(shuffle(b, sums, range(0, 16, 2)), shuffle(b, sums, range(1, 16, 2)))
    sixteens = b.add(shuffle(b, pairs, range(0, 8, 2)), shuffle(b, pairs, range(1, 8, 2)))  # <4 x i32>
    s16 = b.fmul(b.sitofp(sixteens, vec(F32, 4)), shuffle(b, d, [0, 0, 1, 1]))
    store(b, b.fadd(shuffle(b, s16, [0, 2]), shuffle(b, s16, [1, 3])), at(b.add(p2, p8), 4))
    store(b, s16, at(b.add(p2, b.shl(p8, I64(1))), 8))
