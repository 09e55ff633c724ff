"""Calls single kernels from tests: weights at the very end of a mapping, results between marks.

Also the definition of quantized activations in NumPy, which the kernels' results are compared with.
"""

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.backends.numba.machine import isa, native
from localmix.backends.numba.machine.compiler import compile_kernel
from localmix.backends.numba.passes.records import (
    BIG,
    JOB,
    SECTIONS,
    TINY,
    ZEROS,
    padded,
    quantized_bytes,
    tile_scratch,
)
from quant import FORMATS, Format
from quant.format import Floats

MARK = np.float32(-12345.5)
KINDS = {
    "values": np.int8,
    "turned_values": np.int8,
    "low": np.int8,
    "turned_low": np.int8,
    "words": np.int16,
    "scales": np.float32,
    "starts": np.float32,
    "floats16": np.float32,
    "floats32": np.float32,
}


def compiled(python: Any) -> Callable[..., int]:
    """A function of int64 arguments, written in a test, as a kernel."""
    arguments = python.__code__.co_argcount
    return native.function(native.link(*compile_kernel(python, arguments)), arguments)


def guarded(array: NDArray[Any]) -> NDArray[Any]:
    """A copy whose next byte cannot be read: a kernel that looks further crashes."""
    page, size = mmap.PAGESIZE, array.nbytes
    room = -(-size // page) * page
    memory = mmap.mmap(-1, room + page)
    whole = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(whole.ctypes.data + room), ctypes.c_size_t(page), 0) == 0
    copy = whole[room - size : room].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def random_weights(format: Format, rows: int, width: int) -> NDArray[Any]:
    """Blocks (rows, width // block) of random bits, with scales of a sensible size and some odd ones."""
    rng = np.random.default_rng(rows * width)
    if format.block == 1:
        floats = rng.standard_normal((rows, width)).astype(np.float32)
        if format.name == "bf16":
            return (floats.view(np.uint32) >> 16).astype(np.uint16).view(format.dtype)
        return floats.astype(np.float16 if format.name == "f16" else np.float32).view(format.dtype)
    count = rows * width // format.block
    blocks = rng.integers(0, 256, (count, format.dtype.itemsize), dtype=np.uint8).view(format.dtype)[:, 0]
    for name in {"d", "dmin", "m"} & set(format.dtype.names or ()):
        blocks[name] = rng.uniform(-0.1, 0.1, count)
        blocks[name][:: count // 4 + 1] = 3e-6  # a subnormal number of float16
        blocks[name][1 :: count // 4 + 1] = 0
    if "e" in (format.dtype.names or ()):
        blocks["e"] = rng.integers(118, 126, count)
        blocks["e"][::5], blocks["e"][1::5] = 0, 1
    return blocks.reshape(rows, -1)


def quantize(x: Floats, wide: bool) -> tuple[NDArray[np.int32], Floats]:
    """Activations of 8 or, wide, 16 bits by definition: values (T, K) and a scale, a power of two, for each 32."""
    most = np.float32(127 * 256 if wide else 127)
    groups = x.reshape(len(x), -1, 32)
    largest = np.abs(groups).max(axis=2, keepdims=True)
    scales = np.exp2(np.ceil(np.log2(np.maximum(largest * (1 / most), np.float32(TINY)))))
    return np.rint(groups / scales).astype(np.int32).reshape(x.shape), scales[..., 0]


def quantized_rows(x: Floats, wide: bool) -> NDArray[np.uint8]:
    """The kernels' rows of those activations: records.SECTIONS, written by definition. (T, quantized_bytes)"""
    tokens, width = x.shape
    room = padded(width)
    full = np.zeros((tokens, room), np.float32)
    full[:, :width] = x
    values, scales = quantize(full, wide)
    sums = {n: values.reshape(tokens, -1, n).sum(axis=2, dtype=np.int32) for n in (16, 32)}
    starts = scales * np.float32(BIG)
    low = values.astype(np.int8)  # the low byte, signed
    parts = {
        "values": (values - low >> 8).astype(np.int8) if wide else low,
        "scales": scales,
        "floats32": sums[32] * scales,
        "floats16": sums[16] * np.repeat(scales, 2, axis=1),
        "sums32": -ZEROS[32] * sums[32],
        "sums16": -ZEROS[16] * sums[16],
        "starts": starts,
        "starts32": starts.view(np.int32) - ZEROS[32] * sums[32],
        "starts16": np.repeat(starts.view(np.int32), 2, axis=1) - ZEROS[16] * sums[16],
        "low": low,
        "words": values.astype(np.int16).reshape(tokens, -1, 8, 2).swapaxes(2, 3).reshape(values.shape),
    }
    for name in ("values", "low"):
        runs = parts[name].reshape(tokens, -1, 4, 4, 16)
        parts[f"turned_{name}"] = runs.swapaxes(2, 3).reshape(values.shape)
    assert parts.keys() == SECTIONS.keys()
    rows = np.zeros((tokens, quantized_bytes(width, wide)), np.uint8)
    for name, section in sections(rows, width, wide).items():
        section[...] = parts[name]
    return rows


def sections(rows: NDArray[np.uint8], width: int, wide: bool) -> dict[str, NDArray[Any]]:
    """The sections of quantized rows, as views of their types."""
    room, views = padded(width), {}
    for name, (start, size) in SECTIONS.items():
        if name in ("low", "turned_low", "words") and not (wide and (name != "words" or isa.active().pairs)):
            continue
        if wide and name.startswith("starts"):
            continue
        views[name] = rows[:, start * room // 8 :][:, : size * room // 32].view(KINDS.get(name, np.int32))
    return views


def aligned(array: NDArray[Any], line: int = 64) -> NDArray[Any]:
    """A copy that begins at the start of a cache line."""
    memory = np.zeros(array.nbytes + line, np.uint8)
    start = -memory.ctypes.data % line
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def product(name: str, shape: str, weights: NDArray[Any], x: Floats) -> Floats:
    """y (T, R) of a format's kernel gemv, gemm, gemv16 or gemm16; nothing beside y may be written."""
    format = FORMATS[name]
    rows, width = len(weights), x.shape[1]
    floats = format.block == 1
    inputs = aligned(x if floats else quantized_rows(x, shape.endswith("16")))
    y = np.full((len(x), rows + 32), MARK, np.float32)
    scratch = np.zeros(tile_scratch(), np.uint8)
    job = np.zeros((), JOB)
    job["w"], job["row_bytes"] = weights.ctypes.data, format.row_bytes(width)
    job["rows"], job["width"] = rows, width
    job["x"], job["x_stride"], job["tokens"] = inputs.ctypes.data, inputs.strides[0], len(x)
    job["y"], job["y_stride"] = y[:, 16:].ctypes.data, y.strides[0]
    job["scratch"] = scratch.ctypes.data
    run = native.function(f"formats.{name}.{shape}", 1)
    if shape.startswith("gemv"):
        for t in range(len(x)):
            job["x"], job["y"] = inputs[t].ctypes.data, y[t, 16:].ctypes.data
            run(job.ctypes.data)
    else:
        run(job.ctypes.data)
    assert (y[:, :16] == MARK).all()
    assert (y[:, 16 + rows :] == MARK).all()
    return y[:, 16 : 16 + rows]


def unpacked(name: str, weights: NDArray[Any], width: int) -> Floats:
    """Rows of weights as floats, by the kernel `rows`, in turned order."""
    ids = np.arange(len(weights), dtype=np.int32)[::-1].copy()
    y = np.zeros(len(ids) * width + padded(width) - width, np.float32)
    job = np.zeros((), JOB)
    job["w"], job["row_bytes"], job["width"] = weights.ctypes.data, FORMATS[name].row_bytes(width), width
    job["x"], job["tokens"], job["y"], job["y_stride"] = ids.ctypes.data, len(ids), y.ctypes.data, 4 * width
    native.function(f"formats.{name}.rows", 1)(job.ctypes.data)
    return y[: len(ids) * width].reshape(len(ids), width)


def expected(
    name: str, weights: NDArray[Any], x: Floats, wide: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """y (T, R) by definition, and the sum of magnitudes that rounding errors are in proportion to."""
    format = FORMATS[name]
    w = format.dequantize(weights).reshape(len(weights), -1).astype(np.float64)
    if format.block > 1:
        values, scales = quantize(x, wide)
        x = values * np.repeat(scales, 32, axis=1)
    return x.astype(np.float64) @ w.T, np.abs(x).astype(np.float64) @ np.abs(w).T
