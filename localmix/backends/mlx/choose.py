"""The next id, chosen on the device: `localmix.answer.sampling`'s chain in MLX's operations, in float32.

The uniform number is drawn on the host beforehand, so that one seed serves all backends and nothing waits.
Shapes: V vocabulary · n candidates, best first.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from localmix.answer.options import Options
from localmix.answer.sampling import Sampler, check_best


class Choice(NamedTuple):
    """An id that may not be computed yet."""

    id: mx.array  # (1,) int32
    best: mx.array  # the best logit, NaN if any is

    def read(self) -> int:
        """Wait for it. LocalmixError: a logit is not a number."""
        check_best(np.array(self.best).item())
        return np.array(self.id).item()


class Chooser:
    """One stream of choices, which keeps the recent ids on the device."""

    def __init__(self, sampler: Sampler, context: Sequence[int]) -> None:
        self._options, self._uniform = sampler.options, sampler.uniform
        o = self._options
        self._penalized = o.repeat_penalty != 1 and o.repeat_last_n != 0
        self._last = len(context) if o.repeat_last_n < 0 else o.repeat_last_n
        self._recent = mx.array(list(context[-self._last :]), dtype=mx.int32) if self._penalized else None

    def __call__(self, logits: mx.array) -> Choice:
        """The choice from logits (V,); it is recent from now on."""
        o = self._options
        if self._recent is not None:
            logits = penalize(logits, self._recent, o.repeat_penalty)
        best = mx.where(mx.isnan(logits).any(), mx.nan, logits.max())
        id = draw(logits, best, o, self._uniform()) if o.temp else logits.argmax(keepdims=True)
        id = id.astype(mx.int32)
        if self._recent is not None:
            recent = mx.concatenate([self._recent, id])
            self._recent = recent if o.repeat_last_n < 0 else recent[-o.repeat_last_n :]
        return Choice(id, best)


def penalize(logits: mx.array, recent: mx.array, penalty: float) -> mx.array:
    """Logits (V,) with those of `recent` made less likely; an id that occurs twice is written twice, the same."""
    if recent.size == 0:
        return logits
    chosen = logits[recent]
    out = mx.array(logits)
    out[recent] = mx.where(chosen > 0, chosen / penalty, chosen * penalty)
    return out


def draw(logits: mx.array, best: mx.array, o: Options, u: float) -> mx.array:
    """The id (1,) that the uniform number u in [0, 1) falls on, after top-k, top-p and min-p."""
    ids = top_k(logits, o.top_k or logits.size)
    scores = logits[ids] - best  # (n,), falling
    keep = scores >= (math.log(o.min_p) if o.min_p > 0 else -math.inf)
    if o.top_p < 1:
        shares = mx.exp(scores)
        total = mx.cumsum(shares)
        before = mx.concatenate([mx.zeros(1), total[:-1]])
        keep = keep & (before < o.top_p * total[-1])
    total = mx.cumsum(mx.where(keep, mx.exp(scores / o.temp), 0))
    index = (total <= u * total[-1]).sum()
    return ids[mx.minimum(index, keep.sum() - 1)].reshape(1)


def top_k(logits: mx.array, k: int) -> mx.array:
    """The k most likely ids (n,), best first, the lower one of equals first."""
    if k >= logits.size:
        return mx.argsort(-logits)
    ids = mx.sort(mx.argpartition(-logits, k)[:k])
    return ids[mx.argsort(-logits[ids])]
