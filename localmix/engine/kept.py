"""How much of a sequence layers keep: the one rule by which caches, admission, `info` and `doctor` count.

A layer with a window keeps what a coming token may see, SLACK before that, and what one pass adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from localmix.engine.batch import CHUNK

SLACK = 64  # positions that are kept before a window, so that a sequence can be cut a little


@dataclass(frozen=True)
class Kept:
    """`windows`: how many positions each layer sees, its own included (0: all); `sizes`: bytes of one of its positions.

    Memory is taken `step` positions at a time.
    """

    windows: Sequence[int]
    sizes: Sequence[int]
    step: int

    def bytes(self, length: int) -> int:
        """Of a sequence of `length` positions, at most, while it is computed."""
        pairs = zip(self.windows, self.sizes, strict=True)
        return sum(size * held(length, window, self.step) for window, size in pairs)

    @property
    def position(self) -> int:
        """Bytes of one position in all layers."""
        return sum(self.sizes)

    @property
    def growing(self) -> int:
        """Bytes of one more position where all windows are full."""
        return sum(size for window, size in zip(self.windows, self.sizes, strict=True) if not window)


def held(length: int, window: int, step: int) -> int:
    """Positions that a layer keeps of a sequence of `length`, at most, while it is computed."""
    steps = -(-length // step)
    if window:
        steps = min(steps, -(-(window + SLACK + CHUNK) // step) + 2)  # which the first and the last lie in
    return steps * step
