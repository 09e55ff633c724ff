"""One sequence of tokens in a cache, and the list of those that are in it.

The list is all that is needed to use the cache again: what a new prompt shares with it is kept, the rest is cut.
Contexts of one cache advance together, in one pass.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.backends.protocol import Pause, Watch
from localmix.engine.batch import Batch
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError
from localmix.network.rope import turned
from quant.format import Floats


class Context:
    """Room for `size` tokens. `ids` are always exactly those whose keys and values are in the cache.

    `watch` and `pause`, which may be set at any time, are called in each pass: see `localmix.backends.protocol`.
    """

    def __init__(self, engine: Engine, size: int | None = None, kv: str | None = None, *, cache: Any = None) -> None:
        """A sequence in a cache of its own, or in `cache`, whose sizes then count."""
        self.engine = engine
        self.ids: list[int] = []
        self.watch: Watch | None = None
        self.pause: Pause | None = None
        self.cache = engine.cache(size, kv) if cache is None else cache
        self.sequence: int = self.cache.new()

    @property
    def size(self) -> int:
        return self.cache.context

    def keep_prefix(self, prompt: Sequence[int]) -> int:
        """Forget everything that `prompt` does not begin with; how many tokens are left.

        The last one of the prompt is never left: computing it gives the logits that come next.
        """
        pairs = zip(self.ids, prompt[:-1], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self.cache.truncate(self.sequence, shared)
        del self.ids[shared:]
        return shared

    def advance(self, ids: Sequence[int]) -> Floats:
        """Append `ids` and return the logits (V,) after the last. Interrupted, it leaves no trace."""
        return advance([(self, ids)])[0]

    def fork(self, length: int | None = None) -> "Context":
        """Another sequence in the same cache that begins with the first `length` tokens (None: all)."""
        length = len(self.ids) if length is None else length
        other = Context.__new__(Context)
        other.engine, other.cache, other.watch, other.pause = self.engine, self.cache, None, None
        other.ids, other.sequence = self.ids[:length], self.cache.share(self.sequence, length)
        return other

    def free(self) -> None:
        """Give the sequence back: nothing else may be done with this context."""
        self.cache.free(self.sequence)

    def dump(self) -> tuple[list[int], NDArray] | None:
        """The ids and their keys and values; None from a backend whose cache cannot be saved."""
        return (self.ids, self.cache.dump(self.sequence)) if hasattr(self.cache, "dump") else None

    def restore(self, ids: Sequence[int], kv: NDArray) -> None:
        """Take up what `dump` gave. ValueError: it does not fit this model or this backend."""
        if not hasattr(self.cache, "restore") or kv.ndim != 5 or kv.shape[3] != len(ids):
            raise ValueError("keys and values that do not fit")
        restored = self.cache.restore(kv)
        self.cache.free(self.sequence)
        self.sequence, self.ids = restored, list(ids)

    def shift(self, keep: int, count: int) -> None:
        """Forget `count` tokens behind the first `keep`. Those after move up, their keys rotated to the new places.

        LocalmixError: they are kept in 8 bits.
        """
        found = self.dump()
        if found is None or found[1].dtype.kind != "f":
            raise LocalmixError("keys and values in 8 bits cannot be shifted: use --when-full drop")
        ids, kv = found
        kv = np.concatenate([kv[:, :, :, :keep], kv[:, :, :, keep + count :]], axis=3)
        for layer, (keys, _) in zip(self.engine.network.layers, kv, strict=True):  # (K, n, d)
            rope, moved = layer.attention.rope, keys[:, keep:]
            if rope is not None:
                moved[:] = turned(moved.astype(np.float32), rope, -count * rope.inverse, 1.0)
        self.restore(ids[:keep] + ids[keep + count :], kv)


def advance(parts: Sequence[tuple[Context, Sequence[int]]], *, every: Sequence[bool] | None = None) -> Floats:
    """One pass for contexts of one cache: appends to each its ids.

    Logits (W, V) after the last id of each, and after all ids of those for which `every` says so. Interrupted, it
    leaves no trace.
    """
    engine, cache = parts[0][0].engine, parts[0][0].cache
    starts = [len(context.ids) for context, _ in parts]
    try:
        rows = [(context.sequence, len(context.ids), ids) for context, ids in parts]
        return engine.forward(Batch.of(rows, every=every or False), cache, _watching(parts), _pausing(parts))
    finally:
        for (context, ids), start in zip(parts, starts, strict=True):
            context.ids += ids[: cache.length(context.sequence) - start]  # all of them or none


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
