"""What may come next, read off the text so far: where its last ids stood before, what followed them there.

Prompt lookup, as in https://github.com/apoorvumang/prompt-lookup-decoding. Knows ids and nothing else.
"""

from collections.abc import Iterable

LEAST = 2  # ids that must be the same
_MOST = 32  # ids that are compared
_PLACES = 8  # places with the same last ids that are looked at, the latest


class Lookup:
    """All ids of a context and the answer in it, and where each run of LEAST ids ended."""

    def __init__(self, ids: Iterable[int]) -> None:
        self.late = 0.0  # seconds: there is nothing to catch up with
        self._ids: list[int] = []
        self._begin = 0  # of what was found last
        self._ends: dict[tuple[int, ...], list[int]] = {}
        for id in ids:
            self.push(id)

    def push(self, id: int) -> None:
        """The next id. The run that ends with it is known once another follows."""
        ids = self._ids
        if len(ids) >= LEAST:
            run = tuple(ids[-LEAST:])
            if run not in self._ends:
                self._ends[run] = [len(ids)]
            else:
                self._ends[run].append(len(ids))
                del self._ends[run][:-_PLACES]
        ids.append(id)

    def look(self, most: int) -> tuple[int, int]:
        """How many ids may come next, up to `most`, and how many before them are the same; of equals the latest."""
        self._begin, same = len(self._ids), 0
        places = self._ends.get(tuple(self._ids[-LEAST:]))
        if places is None:
            return 0, 0
        for end in reversed(places):
            length = self._same(end)
            if length > same:
                self._begin, same = end, length
        return min(most, len(self._ids) - self._begin), same

    def agree(self, passes: float) -> tuple[int, int, float]:
        """It need not be asked."""
        return 0, 0, 0.0

    def guess(self, count: int) -> list[int]:
        """The first `count` of them."""
        return self._ids[self._begin : self._begin + count]

    def _same(self, end: int) -> int:
        """How many ids before `end` are those at the end of the text."""
        ids, last = self._ids, len(self._ids)
        n, most = LEAST, min(_MOST, end)
        while n < most and ids[end - 1 - n] == ids[last - 1 - n]:
            n += 1
        return n
