"""How fast single kernels read weights from memory, in turn with a plain reading. By hand, from the checkout:

    python tests/peers/kernel_rates.py [q4_k q6_k …] [--tokens 1] [--width 4096] [-t 2] [--rounds 60]

Each round every thread reads a slice of 12 MB plainly, then one with each kernel, then one plainly again, each slice
somewhere else in a file of 640 MB that is mapped, all threads at once. So a memory bus that other programs use too is
the same for all. Printed are the rates of a thread that a tenth of the slices reach or exceed, which are those
that nobody disturbed, the share of the plain one, and what a kernel does with weights in the cache, also as products a
second and, where there is a dot product of bytes, as a share of those of a loop that does nothing but multiply what is
in registers. LOCALMIX_ISA=avx2 chooses other instructions.
"""

import argparse
import mmap
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "backends" / "numba"))
import kernel_calls
from llvmlite import ir
from numba.core import cgutils

from localmix.backends.numba.machine import isa, native
from localmix.backends.numba.machine.dots import dot4, pinned
from localmix.backends.numba.machine.simd import I8, I32, const, vec
from localmix.backends.numba.machine.words import int64, void, word
from localmix.backends.numba.passes.records import JOB, LINE, PROBE, tile_scratch
from quant import FORMATS

SLICE, FILE = 12 << 20, 640 << 20
NEAR = 512 << 10  # bytes of weights that stay in the cache
TURNS = 20_000
Read = Callable[[int], int]  # from an address on; gives the bytes


def plain() -> Read:
    """As fast as one thread reads."""
    run = native.function("machine.probe.read", 2)
    counters, result = np.zeros(64, np.int64), np.zeros(8, np.int64)
    record = np.zeros((), PROBE)
    record["size"], record["streams"], record["ahead"] = SLICE, 2, 1024
    record["counters"], record["result"] = -(-counters.ctypes.data // LINE) * LINE, result.ctypes.data

    def read(start: int) -> int:
        counters[:] = 0
        record["start"] = start
        run(record.ctypes.data, 0)
        return SLICE

    return read


def products(name: str, width: int, tokens: int, most: int) -> tuple[Read, Read]:
    """Reads a slice, and what stays in the cache, by multiplying it."""
    format = FORMATS[name]
    run = native.function(f"formats.{name}.{'gemv' if tokens == 1 else 'gemm'}", 1)
    x = np.random.default_rng(0).standard_normal((tokens, width)).astype(np.float32)
    inputs = kernel_calls.aligned(kernel_calls.quantized_rows(x, wide=False))
    y, scratch = np.zeros((tokens, most), np.float32), np.zeros(tile_scratch(), np.uint8)
    job = np.zeros((), JOB)
    job["row_bytes"], job["width"], job["tokens"] = format.row_bytes(width), width, tokens
    job["x"], job["x_stride"] = inputs.ctypes.data, inputs.strides[0]
    job["y"], job["y_stride"], job["scratch"] = y.ctypes.data, y.strides[0], scratch.ctypes.data
    kept: list[Any] = [inputs, y, scratch]

    def reading(size: int) -> Read:
        rows = min(most, size // int(job["row_bytes"]) // 16 * 16)
        each = rows * int(job["row_bytes"])

        def read(start: int) -> int:
            assert kept
            job["rows"] = rows
            for at in range(start, start + size - each + 1, each):
                job["w"], job["then"] = at, at + each
                run(job.ctypes.data)
            return size // each * each

        return read

    return reading(SLICE), reading(NEAR)


@word(void, int64)
def multiply_in_registers(b: ir.IRBuilder, turns: Any) -> None:
    """Twelve independent sums, which take 64 products each in turn."""
    codes, x = (cgutils.alloca_once_value(b, const(vec(I8, 64), value)) for value in (3, 5))
    sums = [cgutils.alloca_once_value(b, const(vec(I32, 16), i)) for i in range(12)]
    with cgutils.for_range(b, turns):
        for total in sums:
            b.store(pinned(b, b.load(codes)), codes)  # or LLVM multiplies once, before the loop
            b.store(pinned(b, dot4(b, b.load(total), b.load(codes), b.load(x))), total)


def peak() -> Read:
    """The same for products of bytes, of which it makes as many as it says."""

    def turns(count: int) -> None:
        multiply_in_registers(count)

    run = kernel_calls.compiled(turns)

    def read(_: int) -> int:
        run(TURNS)
        return 64 * 12 * TURNS

    return read


def rate(read: Read, start: int) -> float:
    began = time.perf_counter()
    return read(start) / (time.perf_counter() - began) / 1e9


def measure(
    data: NDArray[np.uint8], names: list[str], a: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """GB/s of every slice: of "" plainly, of each format; of each from the cache, and for "" billions of products."""
    found: dict[str, list[float]] = {name: [] for name in ("", *names)}
    near: dict[str, float] = {}
    barrier = threading.Barrier(a.threads)

    def work(thread: int) -> None:
        own = data.size // a.threads // 4096 * 4096
        start, slices = data.ctypes.data + thread * own, own // SLICE - 1
        kernels = {name: products(name, a.width, a.tokens, a.rows) for name in names}
        reads = [("", plain()), *((name, whole) for name, (whole, _) in kernels.items())]
        turn = 0
        for _ in range(a.rounds):
            for name, read in reads:
                barrier.wait()
                found[name].append(rate(read, start + turn % slices * SLICE))
                turn += 1
        if thread == 0:
            alone = {name: one for name, (_, one) in kernels.items()} | {"": peak()}
            near.update({name: max(rate(one, start) for _ in range(100)) for name, one in alone.items()})

    threads = [threading.Thread(target=work, args=(i,)) for i in range(a.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=["q4_k", "q4_0", "q6_k", "q8_0", "q5_k", "mxfp4"])
    parser.add_argument("--tokens", type=int, default=1)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=512, help="of a piece of work")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("-t", "--threads", type=int, default=2)
    a = parser.parse_args()
    with tempfile.TemporaryFile() as file:
        block = np.random.default_rng(0).integers(0, 256, 1 << 24, np.uint8).tobytes()
        for _ in range(FILE // len(block)):
            file.write(block)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            data = np.frombuffer(mapped, np.uint8)
            int(data[::4096].sum())  # pages are there
            found, near = measure(data, a.formats, a)
            del data
    best = {name: float(np.percentile(rates, 90)) for name, rates in found.items()}
    print(f"{isa.active().name}, {a.threads} threads, {a.tokens} tokens of width {a.width}; GB/s of each thread")
    print(f"{'plain':>8} {best['']:6.1f}")
    for name in a.formats:
        products = near[name] * FORMATS[name].block / FORMATS[name].dtype.itemsize * a.tokens
        cached = f"from the cache {near[name]:5.1f}, {products:4.0f} G products"
        cached += "" if isa.active().pairs else f", {products / near['']:.0%} of {near['']:.0f}"
        print(f"{name:>8} {best[name]:6.1f} {best[name] / best['']:6.0%}   {cached}")


if __name__ == "__main__":
    main()
