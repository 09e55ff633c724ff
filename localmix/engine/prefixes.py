"""What was computed of prompts before, so that one that begins alike need not compute it again.

Sequences in one cache, whose pages they share: a tree, though none is drawn. The oldest lose their ends first, page by
page, and what several begin with stays until the last of them goes. Only prompts are kept, no answers: a token that was
decoded has other last bits than one that was read, and with the cache or without it a text must be the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localmix.backends.protocol import Cache
from localmix.engine.cache import PAGE
from localmix.engine.context import Context
from localmix.engine.engine import Engine

LEAST = 16  # tokens that are worth keeping
_MOST = 256  # prompts: every one is compared


@dataclass(eq=False)
class _Kept:
    owner: str
    ids: NDArray[np.int32]  # (n,)
    context: Context


class Prefixes:
    """The prompts of one cache. `budget`: bytes of all its pages, those of answers under way included; None: any."""

    def __init__(self, engine: Engine, cache: Cache, budget: int | None) -> None:
        self.budget = budget
        self.cache = cache
        self._engine = engine
        self._kept: list[_Kept] = []  # the one used last comes last

    def begin(self, owner: str, prompt: list[int]) -> Context:
        """A context that holds what is known of a prompt: all but two tokens of it at most, as one alone would be
        computed in another way than among others.

        Where windows have lost what would follow a longer beginning in common, as a system prompt, its `branch` says
        how long that is: kept when it is read once more, it serves the next.
        """
        wanted = np.asarray(prompt[:-2], np.int32)
        best, length, longest = None, 0, 0
        for one in [one for one in self._kept if one.owner == owner]:
            shared = _shared(one.ids, wanted)
            longest = max(longest, shared)
            if shared > length and one.context.can_cut(shared):
                best, length = one, shared
        if best is None or length < LEAST:
            context, length = Context(self._engine, cache=self.cache), 0
        else:
            self._touch(best)
            context = best.context.fork(length)
        context.branch = longest if longest >= length + LEAST else 0
        return context

    def keep(self, owner: str, context: Context, length: int) -> None:
        """Remember the first `length` tokens of a context, which are of a prompt."""
        if length < LEAST or self.budget == 0:
            return
        ids = np.array(context.ids[:length], np.int32)
        for one in [one for one in self._kept if one.owner == owner]:
            shared = _shared(one.ids, ids)
            if shared == length and one.context.can_cut(length):  # nothing new
                self._touch(one)
                return
            if shared == len(one.ids) and context.can_cut(shared):
                self._drop(one)
        self._kept.append(_Kept(owner, ids, context.fork(length)))
        if len(self._kept) > _MOST:
            self._drop(self._kept[0])
        self.shrink()

    def shrink(self, more: int = 0) -> bool:
        """Make room for `more` bytes; whether there is."""
        if self.budget is None:
            return True
        while self.cache.nbytes + more > self.budget and self._kept:
            self._cut(self._kept[0])
        return self.cache.nbytes + more <= self.budget

    @property
    def tokens(self) -> int:
        """Of all prompts kept, each counted whole."""
        return sum(len(one.ids) for one in self._kept)

    def _cut(self, one: _Kept) -> None:
        """Take the last pages from a prompt, an eighth of it at a time."""
        left = (len(one.ids) - max(len(one.ids) // 8, 1)) // PAGE * PAGE
        if left < PAGE or not one.context.can_cut(left):
            self._drop(one)
            return
        one.context.cut(left)
        one.ids = one.ids[:left]

    def _touch(self, one: _Kept) -> None:
        self._kept.remove(one)
        self._kept.append(one)

    def _drop(self, one: _Kept) -> None:
        self._kept.remove(one)
        one.context.free()


def _shared(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Length of what both begin with."""
    n = min(len(a), len(b))
    if not n or a[0] != b[0]:
        return 0
    other = np.flatnonzero(a[:n] != b[:n])
    return int(other[0]) if len(other) else n
