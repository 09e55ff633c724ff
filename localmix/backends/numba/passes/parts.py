"""What blocks share inside a forward pass: pieces of work taken from a counter, norms, products.

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
from localmix.backends.numba.machine.words import (
    fma16,
    load_f32,
    load_f32x16,
    mul16,
    record,
    splat_f32x16,
    store_f32,
    store_f32x16,
    sum16,
)
from localmix.backends.numba.passes.records import (
    ATTEND,
    ATTENTION,
    BLOCK,
    JOB,
    MIXTURE,
    NETWORK,
    PRIVATE,
    ROTATION,
    ROWS,
    SPAN,
    STEP,
    TILES,
    WEIGHT,
)
from localmix.backends.numba.products.activations import padded, quantize_at

Record = Any  # a record of records.py, as a kernel sees it
ATTEND_T, ATTENTION_T, BLOCK_T, JOB_T, MIXTURE_T, NETWORK_T, PRIVATE_T, ROTATION_T, SPAN_T, STEP_T, WEIGHT_T = (
    numba.from_dtype(d)
    for d in (ATTEND, ATTENTION, BLOCK, JOB, MIXTURE, NETWORK, PRIVATE, ROTATION, SPAN, STEP, WEIGHT)
)
BLOCK_BYTES, WEIGHT_BYTES, ROTATION_BYTES, SPAN_BYTES = (d.itemsize for d in (BLOCK, WEIGHT, ROTATION, SPAN))
SHARE = 8  # tokens of one piece, at most, where the work is a token's own
SMALL = 1024  # rows of a matrix that is shared out in smaller pieces
PATIENCE = 4000  # turns of a spin loop before the rest of the system gets a chance
NOTHING = np.float32(0)


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
def begun(counter: int) -> bool:
    """Whether a phase has begun, so that the one before it is over."""
    return atomic_load(counter) > 0


@inner
def pieces_of(rows: int, chunk: int) -> int:
    return (rows + chunk - 1) // chunk


@inner
def portion(tokens: int, threads: int) -> int:
    """Tokens of one piece where the work is a token's own: of few tokens each thread has some."""
    return max(min((tokens + threads - 1) // threads, SHARE), 1)


@inner
def dot(x: int, y: int, width: int) -> float:
    """The sum of x · y, float32."""
    total = splat_f32x16(NOTHING)
    whole = width // 16 * 16
    for k in range(0, whole, 16):
        total = fma16(load_f32x16(x + 4 * k), load_f32x16(y + 4 * k), total)
    value = sum16(total)
    for k in range(whole, width):
        value += load_f32(x + 4 * k) * load_f32(y + 4 * k)
    return value


@inner
def four_dots(
    x: int, first: int, second: int, third: int, fourth: int, width: int
) -> tuple[float, float, float, float]:
    """The sums of x · y of four y, each as `dot` has it; one of them alone waits for its own additions."""
    a = b = c = d = splat_f32x16(NOTHING)
    whole = width // 16 * 16
    for k in range(0, 4 * whole, 64):
        own = load_f32x16(x + k)
        a, b = fma16(own, load_f32x16(first + k), a), fma16(own, load_f32x16(second + k), b)
        c, d = fma16(own, load_f32x16(third + k), c), fma16(own, load_f32x16(fourth + k), d)
    p, q, r, s = sum16(a), sum16(b), sum16(c), sum16(d)
    for k in range(4 * whole, 4 * width, 4):
        own = load_f32(x + k)
        p, q = p + own * load_f32(first + k), q + own * load_f32(second + k)
        r, s = r + own * load_f32(third + k), s + own * load_f32(fourth + k)
    return p, q, r, s


@inner
def inverse_size(x: int, width: int, eps: float) -> float:
    """1 / sqrt(mean(x²) + eps)."""
    return np.float32(1) / np.sqrt(dot(x, x, width) / np.float32(width) + np.float32(eps))


@inner
def multiplied(x: int, scale: float, weight: int, width: int, out: int) -> None:
    """out = x · scale · weight."""
    whole, factor = width // 16 * 16, splat_f32x16(scale)
    for k in range(0, whole, 16):
        store_f32x16(out + 4 * k, mul16(mul16(load_f32x16(x + 4 * k), factor), load_f32x16(weight + 4 * k)))
    for k in range(whole, width):
        store_f32(out + 4 * k, load_f32(x + 4 * k) * scale * load_f32(weight + 4 * k))


@inner
def norm(x: int, w: Record, out: int) -> None:
    """out = x / sqrt(mean(x²) + eps) · weight, of a NORM."""
    multiplied(x, inverse_size(x, w.width, w.eps), w.weight, w.width, out)


@inner
def quantize(x: int, row: int, width: int, activations: int) -> None:
    """x into a quantized row, both padded with zeros (x has the room). Odd widths have no quantized weights."""
    if width % 32 == 0:
        room = padded(width)
        for k in range(width, room):
            store_f32(x + 4 * k, NOTHING)
        for k in range(0, room, 64):
            quantize_at(x + 4 * k, row, room, k, activations)


@inner
def product(w: Record, first: int, rows: int, job: int, xf: int, xq: int, y: int, then: int) -> None:
    """y = rows first.. of w, times one row of activations: floats xf or quantized xq, as the format wants; and the
    bias, so that y must be the thread's own. `then` is where the weights begin that this thread reads next.
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
    if w.bias != 0:
        add(w.bias + 4 * first, rows, y)


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
    # One token alone, as experts often have: the kernel that decodes gives the same, faster with 16 registers. On a
    # first start it may not be there yet.
    alone = tokens == 1 and w.floats == 0 and w.gemv != 0
    call1(w.gemv if alone else w.gemm, job)
    if w.bias != 0:
        for t in range(tokens):
            add(w.bias + 4 * first, rows, y + t * y_stride)


@inner
def add(x: int, count: int, total: int) -> None:
    """total += x."""
    for i in range(count):
        store_f32(total + 4 * i, load_f32(total + 4 * i) + load_f32(x + 4 * i))


@inner
def add_rows(x: int, scale: float, count: int, total: int) -> None:
    """total += scale · x."""
    factor, whole, one = np.float32(scale), count // 16 * 16, splat_f32x16(np.float32(1))
    factors = splat_f32x16(factor)
    for i in range(0, whole, 16):  # a product times one is added as it is: nothing is rounded once where twice is due
        product_ = mul16(load_f32x16(x + 4 * i), factors)
        store_f32x16(total + 4 * i, fma16(product_, one, load_f32x16(total + 4 * i)))
    for i in range(whole, count):
        store_f32(total + 4 * i, load_f32(total + 4 * i) + load_f32(x + 4 * i) * factor)


@inner
def part_of_rows(w: Record, piece: int, coming: int, own: Record, y: int) -> None:
    """A piece of y = w times the thread's activations. Pieces overlap: what is added to must be the thread's own."""
    first = first_row(w, piece, w.chunk)
    rows, then = min(w.chunk, w.rows - first), start_of(w, coming, w.chunk, first)
    out = y + 4 * first if w.bias == 0 else own.one
    product(w, first, rows, own.job, own.xf, own.xq, out, then)
    if w.bias != 0:
        copy_rows(own.one, 0, rows, 1, y + 4 * first, 0)


@inner
def tile_rows(rows: int) -> int:
    """Of a matrix with so many rows, those that are one piece for several tokens: threads end together."""
    return TILES if rows > SMALL else TILES // 2


@inner
def part_of_all_rows(w: Record, piece: int, coming: int, own: Record, s: Record, tokens: int, y: int) -> None:
    """A piece of y = w times the input of every token, or of the first ones."""
    chunk = tile_rows(w.rows)
    first = first_row(w, piece, chunk)
    x, stride = (s.xf, s.xf_bytes) if w.floats else (s.xq, s.xq_bytes)
    rows, then = min(chunk, w.rows - first), start_of(w, coming, chunk, first)
    if w.bias == 0:
        products(w, first, rows, own.job, x, stride, tokens, y + 4 * first, 4 * w.rows, then)
    else:
        products(w, first, rows, own.job, x, stride, tokens, own.gate, 4 * TILES, then)
        copy_rows(own.gate, 4 * TILES, rows, tokens, y + 4 * first, 4 * w.rows)


@inner
def copy_rows(x: int, stride: int, rows: int, tokens: int, y: int, y_stride: int) -> None:
    """`rows` floats of each token, to where they belong."""
    for t in range(tokens):
        for r in range(rows):
            store_f32(y + t * y_stride + 4 * r, load_f32(x + t * stride + 4 * r))


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
def add_scaled(x: int, scale: float, count: int, total: int, first: bool) -> None:
    """total = (0 if first, else total) + scale · x, over whole vectors."""
    factor = splat_f32x16(scale)
    for i in range(0, count, 16):
        old = splat_f32x16(NOTHING) if first else load_f32x16(total + 4 * i)
        store_f32x16(total + 4 * i, fma16(load_f32x16(x + 4 * i), factor, old))
