"""How likely the model held an id to be: log-probabilities of raw logits, before temperature and penalties.

One function serves the id and the most likely ones, so that the best of them is the very same number.
"""

import math
from dataclasses import dataclass

import numpy as np

from localmix.answer.sampling import top_k
from quant.format import Floats


@dataclass(frozen=True)
class Score:
    """An id, its log-probability, and those of the most likely ids, best first."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def score(logits: Floats, id: int, count: int) -> Score:
    """The score of `id`, given the logits (V,) before it; with the `count` most likely ids."""
    best = float(logits.max())
    total = best + math.log(float(np.exp(logits.astype(np.float64) - best).sum()))
    ids = top_k(logits, count).tolist() if count else []
    return Score(id, float(logits[id]) - total, tuple((other, float(logits[other]) - total) for other in ids))
