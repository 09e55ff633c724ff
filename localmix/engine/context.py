"""One sequence of tokens in a cache, and the list of those that are in it.

The list is all that is needed to use the cache again: what a new prompt shares with it is kept, the rest is cut.
Contexts of one cache advance together, in one pass.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from localmix.backends.protocol import Cache, Pause, Watch
from localmix.engine.batch import Batch
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError
from localmix.network.rope import turned
from quant.format import Floats


class Context:
    """Room for `size` tokens. `ids` are always exactly those whose keys and values are in the cache.

    `watch` and `pause`, which may be set at any time, are called in each pass: see `localmix.backends.protocol`.
    """

    def __init__(
        self, engine: Engine, size: int | None = None, kv: str | None = None, *, cache: Cache | None = None
    ) -> None:
        """A sequence in a cache of its own, or in `cache`, whose sizes then count."""
        self.engine = engine
        self.ids: list[int] = []
        self.watch: Watch | None = None
        self.pause: Pause | None = None
        self.branch = 0  # a length at which to stop for a moment: see `localmix.engine.prefixes`
        self.cache = engine.cache(size, kv) if cache is None else cache
        self.sequence = self.cache.new()
        self._mark: tuple[list[int], int] | None = None  # ids, and a sequence that ends with them

    @property
    def size(self) -> int:
        return self.cache.context

    def keep_prefix(self, prompt: Sequence[int]) -> int:
        """Forget everything that `prompt` does not begin with; how many tokens are left.

        The last one of the prompt is never left: computing it gives the logits that come next. Where layers have
        windows and lost what tokens after the part in common see, it is what `mark` kept of it, or nothing.
        """
        shared = _alike(self.ids, prompt[:-1])
        if not self.can_cut(shared):
            shared = self._back_to_mark(prompt[:-1])
        self.cut(shared)
        return shared

    def can_cut(self, length: int) -> bool:
        """Whether tokens can follow the first `length`."""
        return length == 0 or self.cache.can_share(self.sequence, length)

    def cut(self, length: int) -> None:
        """Keep only the first `length` tokens, for which `can_cut` holds."""
        self.cache.truncate(self.sequence, length)
        del self.ids[length:]

    def mark(self) -> None:
        """Remember this point: what follows may be replaced, as thoughts are left out of the next prompt. It costs
        memory only where layers have windows; another mark, or taking up something else, ends it.
        """
        if self.ids and any(self.engine.network.windows):
            self._forget_mark()
            self._mark = list(self.ids), self.cache.share(self.sequence, len(self.ids))

    def advance(self, ids: Sequence[int]) -> Floats:
        """Append `ids` and return the logits (V,) after the last. Interrupted, it leaves no trace."""
        return advance([(self, ids)])[0]

    def advance_told(self, ids: Sequence[int], rows: int) -> Floats:
        """The same with the logits (rows, V) after the last ones."""
        engine, cache, batch = _batch([(self, ids)], [True])
        try:
            return engine.forward(replace(batch, wanted=batch.wanted[-rows:]), cache, self.watch, self.pause)
        finally:
            _advanced([(self, ids)], batch)

    def fork(self, length: int | None = None) -> "Context":
        """Another sequence in the same cache that begins with the first `length` tokens (None: all)."""
        length = len(self.ids) if length is None else length
        other = Context.__new__(Context)
        other.engine, other.cache, other.watch, other.pause, other._mark = self.engine, self.cache, None, None, None
        other.branch = 0
        other.ids, other.sequence = self.ids[:length], self.cache.share(self.sequence, length)
        return other

    def free(self) -> None:
        """Give the sequence back: nothing else may be done with this context."""
        self._forget_mark()
        self.cache.free(self.sequence)

    def dump(self) -> tuple[list[int], NDArray]:
        """The ids and their keys and values."""
        return self.ids, self.cache.dump(self.sequence)

    def restore(self, ids: Sequence[int], kv: NDArray) -> None:
        """Take up what `dump` gave. ValueError: it does not fit this model or this backend."""
        if kv.ndim != 5 or kv.shape[3] != len(ids):
            raise ValueError("keys and values that do not fit")
        restored = self.cache.restore(kv)
        self.free()
        self.sequence, self.ids = restored, list(ids)

    def shift(self, keep: int, count: int) -> None:
        """Forget `count` tokens behind the first `keep`. Those after move up, their keys rotated to the new places.

        Where a layer has lost some of the first that it would see then, all is forgotten, to be computed again.
        LocalmixError: they are kept in 8 or 4 bits.
        """
        ids, kv = self.dump()
        if kv.dtype.kind != "f":
            raise LocalmixError("keys and values in 8 or 4 bits cannot be shifted: use --when-full drop, or --kv f16")
        if not self._sees_across(keep, len(ids) - count):
            self.cut(0)
            return
        kv = np.concatenate([kv[:, :, :, :keep], kv[:, :, :, keep + count :]], axis=3)
        for layer, (keys, _) in zip(self.engine.network.layers, kv, strict=True):  # (K, n, d)
            rope, moved = layer.attention.rope, keys[:, keep:]
            if rope is not None:
                moved[:] = turned(moved.astype(np.float32), rope, -count * rope.inverse, 1.0)
        self.restore(ids[:keep] + ids[keep + count :], kv)

    def _sees_across(self, keep: int, length: int) -> bool:
        """Whether all is there that tokens after `length` see of the first `keep`."""
        for index, window in enumerate(self.engine.network.windows):
            seen = max(length + 1 - window, 0) if window else 0
            if seen < keep and seen < self.cache.first(self.sequence, index):
                return False
        return True

    def _back_to_mark(self, prompt: Sequence[int]) -> int:
        """Take up the mark, as much of it as a prompt begins with; how many tokens that is."""
        if self._mark is None:
            return 0
        ids, marked = self._mark
        length = _alike(ids, prompt)
        if length == 0 or not self.cache.can_share(marked, length):
            return 0
        self.cache.free(self.sequence)
        self.sequence, self.ids = self.cache.share(marked, length), ids[:length]
        return length

    def _forget_mark(self) -> None:
        if self._mark is not None:
            self.cache.free(self._mark[1])
            self._mark = None


def _alike(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of what both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def advance(
    parts: Sequence[tuple[Context, Sequence[int]]], *, every: Sequence[bool] | None = None, apart: bool = False
) -> Floats:
    """One pass for contexts of one cache: appends to each its ids.

    Logits (W, V) after the last id of each, and after all ids of those for which `every` says so. Interrupted, it
    leaves no trace. `apart`: see `localmix.engine.batch.Batch`.
    """
    engine, cache, batch = _batch(parts, every, apart)
    try:
        return engine.forward(batch, cache, _watching(parts), _pausing(parts))
    finally:
        _advanced(parts, batch)


def advance_in_parts(
    parts: Sequence[tuple[Context, Sequence[int]]], *, every: Sequence[bool] | None = None
) -> Generator[None, None, Floats]:
    """The same pass, for other contexts to advance whenever it yields. Closed before its end, it leaves no trace."""
    engine, cache, batch = _batch(parts, every)
    pause = _pausing(parts)
    running = engine.in_parts(batch, cache, _watching(parts))
    try:
        while True:
            try:
                next(running)
            except StopIteration as end:
                logits: Floats = end.value
                return logits
            if pause is not None:
                pause()
            yield
    finally:
        _advanced(parts, batch)


def _batch(
    parts: Sequence[tuple[Context, Sequence[int]]], every: Sequence[bool] | None, apart: bool = False
) -> tuple[Engine, Cache, Batch]:
    rows = [(context.sequence, len(context.ids), ids) for context, ids in parts]
    return parts[0][0].engine, parts[0][0].cache, Batch.of(rows, every=every or False, apart=apart)


def _advanced(parts: Sequence[tuple[Context, Sequence[int]]], batch: Batch) -> None:
    """The ids that are in the cache now: all of them or none."""
    for (context, ids), span in zip(parts, batch.spans, strict=True):
        context.ids += ids[: context.cache.length(context.sequence) - span.start]


def _watching(parts: Sequence[tuple[Context, Sequence[int]]]) -> Watch | None:
    """Tells each context that watches of its own tokens."""
    told, row = [], 0
    for context, ids in parts:
        if context.watch is not None:
            told.append((context.watch, slice(row, row + len(ids))))
        row += len(ids)
    if not told:
        return None

    def watch(chosen: NDArray[np.int32]) -> None:
        for one, rows in told:
            one(chosen[:, rows])

    return watch


def _pausing(parts: Sequence[tuple[Context, Sequence[int]]]) -> Pause | None:
    """Calls what each context wants called, once."""
    pauses = list(dict.fromkeys(context.pause for context, _ in parts if context.pause is not None))
    if len(pauses) < 2:
        return pauses[0] if pauses else None

    def pause() -> None:
        for one in pauses:
            one()

    return pause
