"""Lines of memory that will be wanted, asked for between the instructions of a product.

Neighbours must not be asked for one right after the other: read beside an even pace of work, memory gives 14.4 GB/s
where each line is asked for when one is used, or three far from each other when three are, and 11.5 where two
neighbours are asked for when two are (one thread of a Xeon with AVX512-VNNI). Streams in the same 4 KB disturb each
other: of rows of 432 bytes 9 % more is read with one stream in the place of three.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from llvmlite import ir

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.simd import I64, ask, fence
from localmix.backends.numba.passes.records import LINE, ROWS

STREAMS = 3
EARLY = 20 << 10  # bytes: of short rows, 16 are read before memory has answered; a half of the first level
T = TypeVar("T")


@inner
def ahead_of(j: Any, start: int) -> int:
    """Where the weights begin that are asked for while 16 rows of a job from `start` on are read: about EARLY bytes
    further, and no further than as many rows as the job has, of which the last may be in what the thread reads next.
    """
    strips = max(min(EARLY // (ROWS * j.row_bytes), j.rows // ROWS), 1)
    later = start + strips * ROWS
    return j.w + later * j.row_bytes if later < j.rows else j.then + (later - j.rows) * j.row_bytes


class Pace:
    """Asks for `lines` lines from an address on, spread over `turns` calls; or in STREAMS parts that are `apart` bytes
    from each other, a line of each in turn. The next line of a part lies `along` bytes further. They go into the
    second level, or where the bit `near` is 1 into the first.
    """

    def __init__(
        self,
        b: ir.IRBuilder,
        start: Any,
        lines: int,
        turns: int,
        apart: Any = None,
        along: Any = None,
        near: Any = None,
    ) -> None:
        self._b, self._lines, self._turns, self._turn = b, lines, turns, 0
        self._along, self._near = I64(LINE) if along is None else along, near
        self._starts = [start] if apart is None else [b.add(start, b.mul(apart, I64(i))) for i in range(STREAMS)]

    def __call__(self) -> None:
        i, count = self._turn, len(self._starts)
        for line in range(i * self._lines // self._turns, (i + 1) * self._lines // self._turns):
            fence(self._b)  # or LLVM puts them all together
            self._ask(self._b.add(self._starts[line % count], self._b.mul(self._along, I64(line // count))))
        self._turn += 1

    def _ask(self, line: Any) -> None:
        if self._near is None:
            ask(self._b, line, 2)
            return
        with self._b.if_else(self._near) as (near, far):
            with near:
                ask(self._b, line, 1)
            with far:
                ask(self._b, line, 2)


class Steps:
    """Asks `count` times, each time `step` bytes further, spread over `turns` calls: for a number of lines that only
    the running kernel knows. With steps shorter than a line some are asked for twice, which costs next to nothing.
    """

    def __init__(self, b: ir.IRBuilder, start: Any, step: Any, count: int, turns: int) -> None:
        self._b, self._start, self._step = b, start, step
        self._count, self._turns, self._turn = count, turns, 0

    def __call__(self) -> None:
        i = self._turn
        for ask_ in range(i * self._count // self._turns, (i + 1) * self._count // self._turns):
            fence(self._b)
            ask(self._b, self._b.add(self._start, self._b.mul(self._step, I64(ask_))), 2)
        self._turn += 1


def paced(found: Iterable[T], pace: Callable[[], None]) -> Iterator[T]:
    """What is found, with a turn of the pace before each."""
    for one in found:
        pace()
        yield one
