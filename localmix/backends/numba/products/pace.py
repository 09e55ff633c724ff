"""Lines of memory that will be wanted, asked for one by one between the instructions of a product.

While several are on their way at once, what is read from the second level waits too: asked for in bursts of nine,
as a step needs them, they cost a sixth of the speed.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from llvmlite import ir

from localmix.backends.numba.machine.simd import I64, ask, fence
from localmix.backends.numba.passes.records import LINE

T = TypeVar("T")


class Pace:
    """Asks for `lines` lines from an address on, spread over `turns` calls."""

    def __init__(self, b: ir.IRBuilder, start: Any, lines: int, turns: int) -> None:
        self._b, self._start, self._lines, self._turns = b, start, lines, turns
        self._turn = 0

    def __call__(self) -> None:
        i = self._turn
        for line in range(i * self._lines // self._turns, (i + 1) * self._lines // self._turns):
            fence(self._b)  # or LLVM puts them all together
            ask(self._b, self._b.add(self._start, I64(LINE * line)), 2)
        self._turn += 1


def paced(found: Iterable[T], pace: Pace) -> Iterator[T]:
    """What is found, with a turn of the pace before each."""
    for one in found:
        pace()
        yield one
