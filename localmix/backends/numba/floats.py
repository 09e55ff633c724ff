"""Kernels of the float formats: rows of float32, float16 or bfloat16 with activations in float32, any width."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir

from localmix.backends.numba.compiler import inner
from localmix.backends.numba.layout import JOB
from localmix.backends.numba.native import native
from localmix.backends.numba.simd import (
    F32,
    f32x16,
    float32,
    fma,
    int64,
    load,
    load_f32,
    prefetch,
    record,
    splat_f32x16,
    store_f32,
    sum16,
    vec,
    word,
)

JOB_T = numba.from_dtype(JOB)
AHEAD = 4096  # bytes


def kernels(size: int, widen: Callable[[ir.IRBuilder, Any, int], Any]) -> tuple[Any, Any, Any]:
    """gemv, gemm and row; `widen(builder, address, lanes)` loads numbers of `size` bytes as float32, 0 lanes: one."""

    @word(f32x16, f32x16, int64, int64)
    def step(b: ir.IRBuilder, acc: Any, w: Any, x: Any) -> Any:
        return fma(b, widen(b, w, 16), load(b, vec(F32, 16), x), acc)

    @word(float32, int64)
    def single(b: ir.IRBuilder, w: Any) -> Any:
        return widen(b, w, 0)

    @inner
    def dot(w: int, x: int, width: int) -> float:
        even, odd = splat_f32x16(np.float32(0)), splat_f32x16(np.float32(0))
        whole = width // 32 * 32
        for k in range(0, whole, 32):
            prefetch(w + AHEAD + k * size)
            even = step(even, w + k * size, x + 4 * k)
            odd = step(odd, w + (k + 16) * size, x + 4 * k + 64)
        total = sum16(even) + sum16(odd)
        for k in range(whole, width):
            total += single(w + k * size) * load_f32(x + 4 * k)
        return total

    @native(1)
    def gemv(job: int) -> None:
        j = record(job, JOB_T)
        for r in range(j.rows):
            store_f32(j.y + 4 * r, dot(j.w + r * j.row_bytes, j.x, j.width))

    @native(1)
    def gemm(job: int) -> None:
        j = record(job, JOB_T)
        for r in range(j.rows):
            for t in range(j.tokens):
                store_f32(j.y + t * j.y_stride + 4 * r, dot(j.w + r * j.row_bytes, j.x + t * j.x_stride, j.width))

    @native(1)
    def row(job: int) -> None:
        j = record(job, JOB_T)
        for k in range(j.width):
            store_f32(j.y + 4 * k, single(j.w + k * size))

    return gemv, gemm, row
