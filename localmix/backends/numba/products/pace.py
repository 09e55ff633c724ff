"""Lines of memory that will be wanted, asked for between the instructions of a product.

Neighbours must not be asked for one right after the other: read beside an even pace of work, memory gives 14.4 GB/s
where each line is asked for when one is used, or three far from each other when three are, and 11.5 where two
neighbours are asked for when two are (one thread of a Xeon with AVX512-VNNI).
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from llvmlite import ir

from localmix.backends.numba.machine.simd import I64, ask, fence
from localmix.backends.numba.passes.records import LINE

STREAMS = 3
T = TypeVar("T")


class Pace:
    """Asks for `lines` lines from an address on, spread over `turns` calls; or in STREAMS parts that are `apart` bytes
    from each other, a line of each in turn.
    """

    def __init__(self, b: ir.IRBuilder, start: Any, lines: int, turns: int, apart: Any = None) -> None:
        self._b, self._lines, self._turns, self._turn = b, lines, turns, 0
        self._starts = [start] if apart is None else [b.add(start, b.mul(apart, I64(i))) for i in range(STREAMS)]

    def __call__(self) -> None:
        i, count = self._turn, len(self._starts)
        for line in range(i * self._lines // self._turns, (i + 1) * self._lines // self._turns):
            fence(self._b)  # or LLVM puts them all together
            ask(self._b, self._b.add(self._starts[line % count], I64(LINE * (line // count))), 2)
        self._turn += 1


def paced(found: Iterable[T], pace: Pace) -> Iterator[T]:
    """What is found, with a turn of the pace before each."""
    for one in found:
        pace()
        yield one
