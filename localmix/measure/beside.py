"""Steps timed beside readings of memory: what share they have of the bytes a second that can be had.

A machine that others use too is now faster, now slower. So every few steps are compared with the readings just before
and just after them, in turn, and the share of a run is the median of these.
"""

import time
from collections.abc import Callable
from statistics import median

SLICE = 0.15  # seconds of steps between two readings
IDLE = 0.004  # seconds until a team's threads sleep, so that they take nothing from those of another

Step = Callable[[int], object]


def seconds(step: Step, count: int) -> float:
    """What the steps 0 … count - 1 take."""
    began = time.perf_counter()
    for i in range(count):
        step(i)
    return time.perf_counter() - began


class Beside:
    """Times steps that read `size` bytes each; `probe` gives the bytes a second of a reading as fast as it goes."""

    def __init__(self, probe: Callable[[], float], size: float) -> None:
        self._probe, self._size = probe, size
        self.shares: list[float] = []  # of each run

    def seconds(self, step: Step, count: int) -> float:
        """What the steps 0 … count - 1 take, without the readings."""
        total, at, shares = 0.0, 0, []
        before = self._read()
        while at < count:
            first, began = at, time.perf_counter()
            while at < count and (at == first or time.perf_counter() - began < SLICE):
                step(at)
                at += 1
            took = time.perf_counter() - began
            after = self._read()
            shares.append((at - first) * self._size / took * 2 / (before + after))
            total, before = total + took, after
        self.shares.append(median(shares))
        return total

    def _read(self) -> float:
        time.sleep(IDLE)
        rate = self._probe()
        time.sleep(IDLE)
        return rate
