"""A plan becomes a file: rows are read, quantized on all threads, and written in order.

Memory is bounded by the chunks in flight, whatever the size of a tensor. The bytes do not depend on the number of
threads or the size of chunks, so a file that was cut off is continued by another run.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from localmix import gguf
from localmix.convert.plan import Output, Plan
from localmix.errors import FileFormatError
from quant.format import Floats

CHUNK = 1 << 19  # weights; 2 MB as float32. Memory for more is new to the process each time: half the speed of reading
IN_FLIGHT = 1 << 25  # weights on all threads together, so that a hundred of them need no more memory

Progress = Callable[[int], None]
"""Called with a number of bytes of the file to be that are done with."""
Job = tuple[Output, int, int]
"""A tensor and a range of its rows."""
T = TypeVar("T")


def check(plan: Plan, threads: int, progress: Progress = lambda nbytes: None) -> None:
    """Look at every weight, before hours are spent. FileFormatError: one that cannot be written, and where it is."""
    jobs = (job for output in plan.outputs for job in chunks(output, 0, threads))
    for (output, start, stop), _ in in_order(read, jobs, threads):
        progress((stop - start) * output.row_bytes)


def write(
    plan: Plan,
    path: Path,
    threads: int,
    progress: Progress = lambda nbytes: None,
    resume: bool = False,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write the GGUF, or `resume` to write it where another run was cut off.

    `finish` is called with the complete file under its temporary name, before it is moved to `path`. LocalmixError:
    the disk, or what there is to be resumed is of another plan. A KeyboardInterrupt, or whatever `finish` raises,
    leaves what can be resumed.
    """
    tensors = list(plan.tensors.values())
    with gguf.Writer(path, plan.written, tensors, plan.identity(), resume) as out:
        progress(sum(out.resumed.get(output.info.name, 0) * output.row_bytes for output in plan.outputs))
        jobs = (job for output in plan.outputs for job in chunks(output, out.resumed.get(output.info.name, 0), threads))
        for (output, _, _), blocks in in_order(quantize, jobs, threads):
            out.write(output.info.name, blocks)
            progress(blocks.nbytes)
        if finish is not None:
            finish(out.complete())


def in_order(work: Callable[[Output, int, int], T], jobs: Iterable[Job], threads: int) -> Iterator[tuple[Job, T]]:
    """Each job and what `work` makes of it, in the order of the jobs, made on several threads."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Job, Future[T]]] = deque()
        try:
            for job in jobs:
                waiting.append((job, pool.submit(work, *job)))
                if len(waiting) > 2 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def chunks(output: Output, done: int, threads: int) -> Iterator[Job]:
    """Ranges of rows that together are the tensor from row `done` on; no range has rows of two experts."""
    matrix, height = output.source.matrix, output.expert_rows
    step = max(1, min(CHUNK, IN_FLIGHT // threads) // matrix.width)
    for top in range(0, matrix.rows, height):
        for start in range(max(top, done), top + height, step):
            yield output, start, min(start + step, top + height)


def read(output: Output, start: int, stop: int) -> Floats:
    """Rows as float32 (stop - start, width), as kernels want them. FileFormatError: a weight that cannot be written."""
    rows = np.require(output.source.matrix.read(start, stop), np.float32, ["C", "W"])
    largest = output.info.format.largest
    if not (rows.max(initial=0) <= largest and rows.min(initial=0) >= -largest):  # a NaN is the largest and the least
        row, column = np.argwhere(~(abs(rows) <= largest))[0]
        raise FileFormatError(
            f"{output.source.matrix.origin(start + row)}: weight [{start + row}, {column}] of {output.info.name} is "
            f"{rows[row, column]}, expected a number up to {largest:g} for {output.info.format.name}: "
            "the checkpoint is damaged, or needs BF16"
        )
    return rows


def quantize(output: Output, start: int, stop: int) -> NDArray:
    """Blocks (stop - start, n) of a range of rows."""
    format = output.info.format
    if format.block > 1:  # bytes already in the wanted format are copied: rounding twice would only lose
        stored = output.source.matrix.blocks(start, stop, format)
        if stored is not None:
            return stored
    assert format.quantize is not None, format.name
    return format.quantize(read(output, start, stop), output.importance_of(start))
