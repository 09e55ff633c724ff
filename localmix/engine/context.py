"""One sequence of tokens in a cache, and the list of those that are in it.

The list is all that is needed to use the cache again: what a new prompt shares with it is kept, the rest is cut.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from localmix.answer.sampling import Sampler
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from quant.format import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from localmix.backends.watch import Pause, Watch
    from localmix.model import Model


class Context:
    """Room for `size` tokens. `ids` are always exactly those whose keys and values are in the cache.

    `watch` and `pause`, which may be set at any time, are called in each pass: see `localmix.backends.watch`.
    """

    def __init__(self, model: "Model", size: int | None = None, kv: str | None = None) -> None:
        self.model = model
        self.ids: list[int] = []
        self.watch: Watch | None = None
        self.pause: Pause | None = None
        self._cache = model.cache(size, kv)
        self._sequence = self._cache.new()

    @property
    def size(self) -> int:
        return self._cache.context

    def keep_prefix(self, prompt: Sequence[int]) -> int:
        """Forget everything that `prompt` does not begin with; how many tokens are left.

        The last one of the prompt is never left: computing it gives the logits that come next.
        """
        pairs = zip(self.ids, prompt[:-1], strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self._cache.truncate(self._sequence, shared)
        del self.ids[shared:]
        return shared

    def advance(self, ids: Sequence[int]) -> Floats:
        """Append `ids` and return the logits (V,) after the last. Interrupted, it leaves no trace."""
        start = len(self.ids)
        try:
            batch = Batch.of([(self._sequence, start, ids)])
            return self.model.forward(batch, self._cache, self.watch, self.pause)[0]
        finally:
            self.ids += ids[: self._cache.length(self._sequence) - start]  # all of them or none

    def choices(self, logits: Floats, sampler: Sampler) -> Iterator[int]:
        """Ids that `sampler` chooses, the first from `logits` (V,); each is appended when the next is asked for."""
        if self.model.chooses is not None and self.watch is None and sampler.constraint is None:
            yield from self.model.chooses(self._cache, self._sequence, self.ids, logits, sampler)
            return
        while True:
            id = sampler(logits, self.ids)
            yield id
            logits = self.advance([id])

    def dump(self) -> "tuple[list[int], NDArray] | None":
        """The ids and their keys and values; None from a backend whose cache cannot be saved."""
        return (self.ids, self._cache.dump(self._sequence)) if hasattr(self._cache, "dump") else None

    def restore(self, ids: Sequence[int], kv: "NDArray") -> None:
        """Take up what `dump` gave. ValueError: it does not fit this model or this backend."""
        if not hasattr(self._cache, "restore") or kv.ndim != 5 or kv.shape[3] != len(ids):
            raise ValueError("keys and values that do not fit")
        restored = self._cache.restore(kv)
        self._cache.free(self._sequence)
        self._sequence, self.ids = restored, list(ids)

    def shift(self, keep: int, count: int) -> None:
        """Forget `count` tokens behind the first `keep`. Those after move up, their keys rotated to the new places.

        LocalmixError: they are kept in 8 bits.
        """
        found = self.dump()
        if found is None or found[1].dtype.kind != "f":
            raise LocalmixError("keys and values in 8 bits cannot be shifted: use --when-full drop")
        ids, kv = found
        kv = np.concatenate([kv[:, :, :, :keep], kv[:, :, :, keep + count :]], axis=3)
        keys = kv[:, 0, :, keep:]  # (layers, K, n, d)
        keys[:] = _rotated(keys.astype(np.float32), -count * self.model.network.rope_inverse)
        self.restore(ids[:keep] + ids[keep + count :], kv)


def _rotated(keys: Floats, angles: "NDArray[np.float64]") -> Floats:
    """Keys (..., d) with the pairs (2i, 2i+1) rotated by angles (n,): what lies beyond 2n is left as it is."""
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    even, odd = keys[..., 0 : 2 * angles.size : 2], keys[..., 1 : 2 * angles.size : 2]
    out = keys.copy()
    out[..., 0 : 2 * angles.size : 2] = even * cos - odd * sin
    out[..., 1 : 2 * angles.size : 2] = even * sin + odd * cos
    return out
