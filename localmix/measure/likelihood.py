"""From logits to log-probabilities: the one place that does it for many rows. W rows · V vocabulary."""

import numpy as np

from quant.format import Floats


def log_probabilities(logits: Floats) -> Floats:
    """(W, V) from (W, V), each row by itself; the sum over the vocabulary in double precision."""
    most, total = totals(logits)
    return (logits - most) - total


def totals(logits: Floats) -> tuple[Floats, Floats]:
    """The largest logit (W, 1), and the logarithm (W, 1) of the sum of all exponentials relative to it."""
    most = logits.max(axis=1, keepdims=True)
    shifted = logits - most
    total = np.exp(shifted, out=shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    return most, np.log(total).astype(np.float32)
