"""How likely the model held an id to be: log-probabilities of raw logits, before temperature and penalties.

One function serves the id and the most likely ones, so that the best of them is the very same number.
"""

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


def totals(logits: Floats) -> tuple[Floats, Floats]:
    """The largest logit (W, 1) of each row (W, V), and the logarithm (W, 1) of the sum of all exponentials relative to
    it, in double precision until then. Whoever wants log-probabilities takes both from a logit, in this order.
    """
    most = logits.max(axis=1, keepdims=True)
    shifted = logits - most
    total = np.exp(shifted, out=shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return most, np.log(total).astype(np.float32)


def score(logits: Floats, id: int, count: int) -> Score:
    """The score of `id`, given the logits (V,) before it; with the `count` most likely ids."""
    ((most,),), ((total,),) = totals(logits[None])

    def logprob(one: int) -> float:
        return float((logits[one] - most) - total)

    ids = top_k(logits, count).tolist() if count else []
    return Score(id, logprob(id), tuple((other, logprob(other)) for other in ids))
