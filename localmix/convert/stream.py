"""A plan becomes a file: rows are read, quantized on all threads, and written in order.

Memory is bounded by the chunks in flight, whatever the size of a tensor. The bytes do not depend on the number
of threads or the size of chunks.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix import gguf
from localmix.convert.plan import Output, Plan
from localmix.errors import FileFormatError

CHUNK = 1 << 21  # weights; 8 MB as float32, and about five times that while a search works on it

Progress = Callable[[int], None]
"""Called with the number of bytes just written."""


def write(plan: Plan, path: Path, threads: int, progress: Progress = lambda nbytes: None) -> None:
    """Write the GGUF. FileFormatError: a weight that is not finite. LocalmixError: the disk."""
    with gguf.Writer(path, plan.written, list(plan.tensors.values())) as out, ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[str, Future[NDArray]]] = deque()

        def write_one() -> None:
            name, future = waiting.popleft()
            blocks = future.result()
            out.write(name, blocks)
            progress(blocks.nbytes)

        try:
            for output in plan.outputs:
                for start, stop in chunks(output):
                    waiting.append((output.info.name, pool.submit(quantize, output, start, stop)))
                    if len(waiting) > 2 * threads:
                        write_one()
            while waiting:
                write_one()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def chunks(output: Output) -> Iterator[tuple[int, int]]:
    """Ranges of rows that together are the tensor."""
    matrix = output.source.matrix
    step = max(1, CHUNK // matrix.width)
    for start in range(0, matrix.rows, step):
        yield start, min(start + step, matrix.rows)


def quantize(output: Output, start: int, stop: int) -> NDArray:
    """Blocks (stop - start, n) of a range of rows."""
    format = output.info.format
    if format.block > 1:  # bytes already in the wanted format are copied: rounding twice would only lose
        stored = output.source.matrix.blocks(start, stop, format)
        if stored is not None:
            return stored
    rows = np.require(output.source.matrix.read(start, stop), np.float32, ["C", "W"])
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise FileFormatError(
            f"tensor {output.info.name}: weight [{start + row}, {column}] is {rows[row, column]}: "
            "the checkpoint is damaged, nothing was written"
        )
    assert format.quantize is not None, format.name
    return format.quantize(rows, None)
