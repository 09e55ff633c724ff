"""How much a template may still do: work is paid for before it is done, by an upper bound of its cost.

A unit is a character made, an item walked or a step of a loop. Every payment also looks at the clock of its thread's
own work, so a limit holds on any thread, without signals, and a machine that is busy or sleeps refuses no template.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class BudgetSpentError(Exception):
    """A template asked for more work than it may do."""


class Budget:
    """Units of work and seconds of one thread's, both running out."""

    def __init__(self, units: int, seconds: float) -> None:
        self._units = units
        self._seconds = seconds
        self._spent = 0
        self._end = time.thread_time() + seconds

    def spend(self, units: int = 1) -> None:
        """Pay for work that is about to be done."""
        self._spent += units
        if self._spent > self._units:
            raise BudgetSpentError(f"it does more than {self._units:,} steps of work")
        if time.thread_time() > self._end:
            raise BudgetSpentError(f"it takes longer than {self._seconds:g} s")

    def spend_walk(self, value: Any, *, text: bool = False) -> int:
        """Pay for walking through all that `value` holds, with `text` also for each character; gives the sum.

        The walk itself is what is paid for, so that lists nested exponentially deep end it early.
        """
        total = 0
        stack = [value]
        while stack:
            item = stack.pop()
            units = 1
            if isinstance(item, str | bytes):
                units += len(item) if text else 0
            elif isinstance(item, Mapping):
                units += len(item)
                stack += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple | set | frozenset):
                units += len(item)
                stack += item
            elif isinstance(item, range):
                units += len(item)
            self.spend(units)
            total += units
        return total

    def bounded(self, items: Iterable[Any], units: int = 1) -> Iterator[Any]:
        """`items`, each paid for with `units`."""
        for item in items:
            self.spend(units)
            yield item

    def bounded_text(self, parts: Iterable[str]) -> Iterator[str]:
        """`parts` of the output, each paid for with its length."""
        for part in parts:
            self.spend(len(part))
            yield part
