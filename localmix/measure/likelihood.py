"""From logits to log-probabilities, many rows at a time. W rows · V vocabulary."""

import numpy as np
from numpy.typing import NDArray

from localmix.answer.scores import totals
from quant.format import Floats

ROWS = 32  # of logits, looked at together: they stay in the processor's cache


def log_probabilities(logits: Floats) -> Floats:
    """(W, V) from (W, V), each row by itself; the sum over the vocabulary in double precision."""
    most, total = totals(logits)
    return (logits - most) - total


def nats_of(logits: Floats, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """The negative log-probability (W,) of an id of each row, some rows of (W, V) at a time."""
    found = [np.empty(0)]
    for start in range(0, len(targets), ROWS):
        rows, ids = logits[start : start + ROWS], targets[start : start + ROWS]
        most, total = totals(rows)
        found.append(-((rows[np.arange(len(ids)), ids] - most[:, 0]) - total[:, 0]).astype(np.float64))
    return np.concatenate(found)
