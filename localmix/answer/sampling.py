"""From logits to the next id: a chain of small functions, each of which narrows the choice.

Names, defaults and order are llama.cpp's: bias, penalties, grammar, top-k, top-p, min-p, temperature, draw. One uniform
number is taken from the generator for each token, before anything else, and inverted through the distribution: the
same seed gives the same text whatever ran the network. Shapes: V vocabulary · n candidates, best first.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localmix.answer.options import Options
from localmix.errors import LocalmixError
from quant.format import Floats

Ids = NDArray[np.intp]
# What a device may carry out by itself (see localmix.backends.mlx.choose), and what does not change its choices.
ON_DEVICE = {"temp", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "seed"}
ELSEWHERE = {"max_tokens", "stop", "json_schema", "grammar"}  # when a text ends; constraints are asked for themselves


class Constraint(Protocol):
    """What an answer may be: see `localmix.answer.constrain`."""

    def mask(self, logits: Floats) -> Floats: ...
    def accept(self, id: int) -> None: ...
    def fork(self) -> "Constraint": ...


class Sampler:
    """One stream of choices: the options and the generator. `seed` is the one in use."""

    def __init__(self, options: Options, constraint: Constraint | None = None) -> None:
        self.options, self.constraint = options, constraint
        self.seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
        self._random = random.Random(self.seed)  # its sequence is the same in every version of Python
        self.uniform = self._random.random
        self._counts: Counter[int] = Counter()  # of the ids chosen, where they count
        self._known = not any(
            getattr(options, field.name) not in (field.default, {})
            for field in fields(Options)
            if field.name not in ON_DEVICE | ELSEWHERE
        )

    def fork(self) -> "Sampler":
        """Another that chooses as this one would from here on."""
        other = copy(self)
        other.constraint = None if self.constraint is None else self.constraint.fork()
        other._random, other._counts = copy(self._random), self._counts.copy()
        other.uniform = other._random.random
        return other

    def follow(self, id: int) -> None:
        """Go on as if it had chosen this id."""
        if self.options.temp:
            self.uniform()
        if self.constraint is not None:
            self.constraint.accept(id)
        if self.options.presence_penalty or self.options.frequency_penalty:
            self._counts[id] += 1

    @property
    def held(self) -> bool:
        """Whether a constraint decides what the text may be, to the first space."""
        return self.constraint is not None

    @property
    def plain(self) -> bool:
        """Whether a device may choose by itself: no constraint, and of all options it does not know none is set."""
        return self.constraint is None and self._known

    def __call__(self, logits: Floats, context: Sequence[int]) -> int:
        """The next id, given the logits (V,) and all ids so far. LocalmixError: a logit is not a number."""
        o = self.options
        if o.logit_bias or o.presence_penalty or o.frequency_penalty:
            logits = self._shifted(logits)
        if o.repeat_penalty != 1 and o.repeat_last_n:
            recent = context if o.repeat_last_n < 0 else context[-o.repeat_last_n :]
            logits = penalize(logits, recent, o.repeat_penalty)
        id = self._choose(logits if self.constraint is None else self.constraint.mask(logits))
        if self.constraint is not None:
            self.constraint.accept(id)
        if o.presence_penalty or o.frequency_penalty:
            self._counts[id] += 1
        return id

    def _shifted(self, logits: Floats) -> Floats:
        """Logits (V,) with what is asked for added to some. LocalmixError: an id that is not a token."""
        o, out = self.options, logits.copy()
        for id, count in self._counts.items():
            out[id] -= o.presence_penalty + count * o.frequency_penalty
        for id, bias in (o.logit_bias or {}).items():
            if id >= out.size:
                raise LocalmixError(f"logit_bias of {id}: expected ids of 0 to {out.size - 1}")
            out[id] += bias
        return out

    def _choose(self, logits: Floats) -> int:
        o = self.options
        best = int(logits.argmax())  # of equals the lower one, and a NaN if there is one
        check_best(float(logits[best]))
        if not o.temp:
            return best
        u = self.uniform()
        ids = top_k(logits, o.top_k or logits.size)
        scores = logits[ids].astype(np.float64) - float(logits[best])
        if self.constraint is not None or self.options.logit_bias:
            scores = scores[scores > -np.inf]
        if o.top_p < 1:
            scores = top_p(scores, o.top_p)
        if o.min_p > 0:
            scores = min_p(scores, o.min_p)
        return int(ids[draw(scores / o.temp, u)])


def check_best(logit: float) -> None:
    """LocalmixError: the best logit is not a number."""
    if not math.isfinite(logit):
        raise LocalmixError(f"the best logit is {logit}, expected a number: the model file is damaged")


def penalize(logits: Floats, recent: Sequence[int], penalty: float) -> Floats:
    """Logits (V,) with those of `recent` made less likely, once each however often they occur (arXiv:1909.05858)."""
    ids = np.unique(np.asarray(recent, np.intp))
    out = logits.copy()
    chosen = out[ids]
    out[ids] = np.where(chosen > 0, chosen / penalty, chosen * penalty)
    return out


def top_k(logits: Floats, k: int) -> Ids:
    """The k most likely ids (n,) of logits without NaNs, best first, the lower one of equals first.

    Cuts the logits into 4k groups: the k-th best of their maxima is a value that at least k logits reach, and few
    more do. Only these are sorted: 10 µs instead of the 35 of a partition of 4,096, 30 instead of 280 of 32,000.
    """
    groups = 4 * k
    if logits.size < 2 * groups:
        return _descending(logits)[:k]
    rows = logits.size // groups
    best = logits[: rows * groups].reshape(rows, groups).max(axis=0)  # (4k,)
    bound = np.partition(best, groups - k)[groups - k]
    ids = (logits >= bound).nonzero()[0]
    return ids[_descending(logits[ids])[:k]]


def top_p(scores: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """The shortest run of scores (n,), best first, whose probability reaches p: at least one."""
    total = np.exp(scores).cumsum()
    return scores[: int(total.searchsorted(p * total[-1])) + 1]


def min_p(scores: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """The scores (n,), best first and that one 0, whose probability is at least p times the best one's."""
    return scores[: int((-scores).searchsorted(-math.log(p), side="right"))]


def draw(scores: NDArray[np.float64], u: float) -> int:
    """The index that the uniform number u in [0, 1) falls on."""
    total = np.exp(scores).cumsum()
    return min(int(total.searchsorted(u * total[-1], side="right")), total.size - 1)


def _descending(logits: Floats) -> Ids:
    return (-logits).argsort(kind="stable")
