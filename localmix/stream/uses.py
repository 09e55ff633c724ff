"""How much experts were used of late: the one in memory that was used least makes room."""

import math
from collections.abc import Iterable

import numpy as np

from localmix.stream.slots import Key

HALF_LIFE = 64  # tokens after which a use counts half
_EARLIER = 0.3  # half-lives by which each part makes room before the one that is computed with first: of an expert
# whose down alone is missing gate and up are computed while that is read


class Uses:
    """Of all experts, wherever they are, as logarithms, whose order stays while nothing is used; and the slots whose
    parts of experts may make room, of which there may be thousands.
    """

    def __init__(self, layers: int, slots: int) -> None:
        self._step = 1 / (HALF_LIFE * layers)
        self._now = 0.0  # in half-lives
        self._uses: dict[Key, float] = {}
        self._slots = np.full(slots, np.inf)  # uses of what is there; infinite: it stays

    def add(self, keys: Iterable[Key]) -> None:
        """A layer of a token, or of several, has chosen these."""
        self._now += self._step
        for key in keys:
            before = self._uses.get(key, -math.inf)
            self._uses[key] = self._now + math.log2(1 + 2 ** (before - self._now))

    def keep(self, slot: int) -> None:
        self._slots[slot] = np.inf

    def offer(self, slot: int, key: Key, part: int) -> None:
        """This part of an expert may make room from now on."""
        self._slots[slot] = self._uses[key] - part * _EARLIER

    def least(self, first: int, count: int) -> int | None:
        """The slot to empty of so many from `first` on; None: there is none."""
        slot = first + int(self._slots[first : first + count].argmin())
        return slot if self._slots[slot] < np.inf else None
