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
        self._ids: list[int] = []
        self._ends: dict[tuple[int, ...], list[int]] = {}
        for id in ids:
            self.push(id)

    def push(self, id: int) -> None:
        """The next id. The run that ends with it is known once another follows."""
        ids = self._ids
        if len(ids) >= LEAST:
            places = self._ends.setdefault(tuple(ids[-LEAST:]), [])
            places.append(len(ids))
            del places[:-_PLACES]
        ids.append(id)

    def guess(self, most: int) -> tuple[list[int], int]:
        """Up to `most` ids that may come next, and how many ids before them are the same; of equals the latest."""
        best, same = 0, 0
        for end in reversed(self._ends.get(tuple(self._ids[-LEAST:]), ())):
            length = self._same(end)
            if length > same:
                best, same = end, length
        return (self._ids[best : best + most], same) if same else ([], 0)

    def _same(self, end: int) -> int:
        """How many ids before `end` are those at the end of the text."""
        ids, last = self._ids, len(self._ids)
        most = min(_MOST, end)
        return next((n for n in range(LEAST, most) if ids[end - 1 - n] != ids[last - 1 - n]), most)
