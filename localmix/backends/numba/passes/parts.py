"""What decoding and prompts share inside a forward pass: pieces of work taken from a counter, norms, rotation, routing.

All threads run the same pass. A phase is a number of pieces; a thread takes the next one with an atomic addition,
and goes on when all are done, not when all threads have arrived: a thread that the system has put aside holds up
nobody but for what it may have in hand. Pieces of weights are taken one ahead, so that each product knows, and can ask
memory for, what follows it. A counter is two int64, taken and done, a cache line each.
"""

from typing import Any

import numba
import numpy as np

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.control import atomic_add, atomic_load, call1, call_c, pause
from localmix.backends.numba.machine.simd import (
    exp_f32,
    fma16,
    load_f32,
    load_f32x16,
    load_i32,
    mul16,
    record,
    splat_f32x16,
    store_f16,
    store_f32,
    store_f32x16,
    store_i32,
    sum16,
)
from localmix.backends.numba.passes.layout import ATTEND, JOB, KINDS, LAYER, NETWORK, PRIVATE, ROWS, SPAN, STEP, WEIGHT
from localmix.backends.numba.products.activations import padded, quantize64, quantize64_wide, store_q8_0
from localmix.engine.cache import PAGE

Record = Any  # a record of layout.py, as a kernel sees it
ATTEND_T, JOB_T, LAYER_T, NETWORK_T, PRIVATE_T, SPAN_T, STEP_T, WEIGHT_T = (
    numba.from_dtype(d) for d in (ATTEND, JOB, LAYER, NETWORK, PRIVATE, SPAN, STEP, WEIGHT)
)
WEIGHT_BYTES = WEIGHT.itemsize
COUNTER = 128  # bytes
PATIENCE = 4000  # turns of a spin loop before the rest of the system gets a chance
NOTHING = np.float32(0)
F16, Q8_0 = KINDS.index("f16"), KINDS.index("q8_0")


@inner
def take(counter: int) -> int:
    return atomic_add(counter, 1)


@inner
def done(counter: int) -> int:
    """One piece is done; gives another."""
    atomic_add(counter + 64, 1)
    return atomic_add(counter, 1)


@inner
def wait(counter: int, pieces: int, yields: int) -> None:
    """Until all pieces are done."""
    turns = 0
    while atomic_load(counter + 64) < pieces:
        pause()
        turns += 1
        if turns > PATIENCE and yields != 0:
            call_c(yields)


@inner
def pieces_of(rows: int, chunk: int) -> int:
    return (rows + chunk - 1) // chunk


@inner
def norm(x: int, weight: int, width: int, eps: float, out: int) -> None:
    """out = x / sqrt(mean(x²) + eps) · weight."""
    total = splat_f32x16(NOTHING)
    whole = width // 16 * 16
    for k in range(0, whole, 16):
        v = load_f32x16(x + 4 * k)
        total = fma16(v, v, total)
    squares = sum16(total)
    for k in range(whole, width):
        squares += load_f32(x + 4 * k) * load_f32(x + 4 * k)
    scale = np.float32(1) / np.sqrt(squares / np.float32(width) + np.float32(eps))
    factor = splat_f32x16(scale)
    for k in range(0, whole, 16):
        store_f32x16(out + 4 * k, mul16(mul16(load_f32x16(x + 4 * k), factor), load_f32x16(weight + 4 * k)))
    for k in range(whole, width):
        store_f32(out + 4 * k, load_f32(x + 4 * k) * scale * load_f32(weight + 4 * k))


@inner
def quantize_at(x: int, row: int, room: int, k: int, wide: int) -> None:
    """64 floats into column k of a quantized row of padded width `room`."""
    if wide:
        quantize64_wide(x, row, room, k)
    else:
        quantize64(x, row, room, k)


@inner
def quantize(x: int, row: int, width: int, wide: int) -> None:
    """x into a quantized row, both padded with zeros (x has the room). Odd widths have no quantized weights."""
    if width % 32 == 0:
        room = padded(width)
        for k in range(width, room):
            store_f32(x + 4 * k, NOTHING)
        for k in range(0, room, 64):
            quantize_at(x + 4 * k, row, room, k, wide)


@inner
def product(w: Record, first: int, rows: int, job: int, xf: int, xq: int, y: int, then: int) -> None:
    """y = rows first.. of w, times one row of activations: floats xf or quantized xq, as the format wants. `then` is
    where the weights begin that this thread reads next.
    """
    j = record(job, JOB_T)
    j.w = w.data + first * w.row_bytes
    j.row_bytes = w.row_bytes
    j.rows = rows
    j.width = w.width
    j.x = xf if w.floats else xq
    j.y = y
    j.then = then
    call1(w.gemv, job)


@inner
def products(
    w: Record, first: int, rows: int, job: int, x: int, x_stride: int, tokens: int, y: int, y_stride: int, then: int
) -> None:
    """y[t] = rows first.. of w, times x[t]; `then` as above. The job's scratch is set by the thread."""
    j = record(job, JOB_T)
    j.w = w.data + first * w.row_bytes
    j.row_bytes = w.row_bytes
    j.rows = rows
    j.width = w.width
    j.x, j.x_stride = x, x_stride
    j.tokens = tokens
    j.y, j.y_stride = y, y_stride
    j.then = then
    call1(w.gemm, job)


@inner
def expert(table: int, e: int) -> Record:
    """One expert's weight, of a table of all experts'."""
    return record(table + e * WEIGHT_BYTES, WEIGHT_T)


@inner
def first_row(w: Record, piece: int, chunk: int) -> int:
    """The first of the rows of w that are a piece. The last piece may overlap the one before: kernels take 16 rows."""
    return max(min(piece * chunk, w.rows - ROWS), 0)


@inner
def start_of(w: Record, piece: int, chunk: int, present: int) -> int:
    """Where a piece of w begins; after the last, where the one at row `present` does, which is in the cache."""
    first = first_row(w, piece, chunk)
    return w.data + (first if piece * chunk < w.rows else present) * w.row_bytes


@inner
def rotate(x: int, cos: int, sin: int, pairs: int) -> None:
    """Rotate the pairs (2i, 2i+1) of one head in place."""
    for i in range(pairs):
        a, b = load_f32(x + 8 * i), load_f32(x + 8 * i + 4)
        c, s = load_f32(cos + 4 * i), load_f32(sin + 4 * i)
        store_f32(x + 8 * i, a * c - b * s)
        store_f32(x + 8 * i + 4, a * s + b * c)


@inner
def route(x: int, gate: int, width: int, experts: int, active: int, chosen: int, mix: int, logits: int) -> None:
    """The top A experts of a token, ties to the lower one, and the softmax over their logits.

    chosen int32 (A,), mix float32 (A,), logits float32 (E,) scratch. Without a router (gate 0) expert 0 has all.
    """
    if gate == 0:
        store_i32(chosen, 0)
        store_f32(mix, np.float32(1))
        return
    for e in range(experts):
        total = splat_f32x16(NOTHING)
        row = gate + 4 * e * width
        whole = width // 16 * 16
        for k in range(0, whole, 16):
            total = fma16(load_f32x16(x + 4 * k), load_f32x16(row + 4 * k), total)
        value = sum16(total)
        for k in range(whole, width):
            value += load_f32(x + 4 * k) * load_f32(row + 4 * k)
        store_f32(logits + 4 * e, value)
    for a in range(active):
        best = -1
        for e in range(experts):
            taken = False
            for earlier in range(a):
                taken = taken or load_i32(chosen + 4 * earlier) == e
            if not taken and (best < 0 or load_f32(logits + 4 * e) > load_f32(logits + 4 * best)):
                best = e
        store_i32(chosen + 4 * a, best)
    top = load_f32(logits + 4 * load_i32(chosen))
    total_weight = NOTHING
    for a in range(active):
        weight = exp_f32(load_f32(logits + 4 * load_i32(chosen + 4 * a)) - top)
        store_f32(mix + 4 * a, weight)
        total_weight += weight
    for a in range(active):
        store_f32(mix + 4 * a, load_f32(mix + 4 * a) / total_weight)


@inner
def store_heads(x: int, n: Record, page: int, layer: int, values: int, head: int, at: int) -> None:
    """One head's key (values 0) or value (values 1) into its place in a page, rounded as the cache keeps it."""
    target = page + page_offset(n, layer, values, head) + at * n.kv_row
    if n.kv == Q8_0:
        for i in range(0, n.head_dim, 32):
            store_q8_0(x + 4 * i, target + i // 32 * 34)
    elif n.kv == F16:
        for i in range(n.head_dim):
            store_f16(target + 2 * i, load_f32(x + 4 * i))
    else:
        for i in range(n.head_dim):
            store_f32(target + 4 * i, load_f32(x + 4 * i))


@inner
def page_offset(n: Record, layer: int, values: int, head: int) -> int:
    """Bytes from the start of a page to a head's keys or values: a page is (layers, 2, K, PAGE, a row)."""
    return ((layer * 2 + values) * n.kv_heads + head) * PAGE * n.kv_row


@inner
def add_scaled(x: int, scale: float, count: int, total: int, first: bool) -> None:
    """total = (0 if first, else total) + scale · x, over whole vectors."""
    factor = splat_f32x16(scale)
    for i in range(0, count, 16):
        old = splat_f32x16(NOTHING) if first else load_f32x16(total + 4 * i)
        store_f32x16(total + 4 * i, fma16(load_f32x16(x + 4 * i), factor, old))
