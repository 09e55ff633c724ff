"""Keys and values in 4 bits: blocks of 32 codes under one float16 scale, which are blocks of IQ4_NL.

As large as Q4_0's, whose levels are evenly spaced, and with 30 to 60 % of their divergence, for two reasons: levels lie
as numbers do, denser near 0; and keys are spread out first. Some numbers of a key are far larger than all others, and
would take the others' bits. Products of keys with queries that are spread, too, are what they were.
"""

import numpy as np
from numpy.typing import NDArray

from quant import iq4_nl
from quant.format import Floats

BLOCK = 32
LEVELS = np.array(iq4_nl.LEVELS, np.float32)
BOUNDS = (LEVELS[1:] + LEVELS[:-1]) / 2
ENDS = LEVELS[0], LEVELS[-1]


def spread(x: Floats) -> Floats:
    """Each 32 numbers of (..., d) times Hadamard's matrix of signs over √32, which is its own inverse."""
    parts = x.reshape(*x.shape[:-1], -1, *(2,) * 5)
    for axis in range(-5, 0):
        low, high = np.split(parts, 2, axis)
        parts = np.concatenate([low + high, low - high], axis)
    return (parts * np.float32(BLOCK**-0.5)).reshape(x.shape)


def encode(x: Floats) -> NDArray[np.uint8]:
    """Numbers (..., d) as bytes (..., d / 32 · 18).

    The number of largest magnitude is the lowest level or the highest, whichever serves the block better; then the
    scale is the one that fits the codes best.
    """
    rows = np.ascontiguousarray(x).reshape(-1, BLOCK)
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    with np.errstate(divide="ignore"):
        inverses = np.where(largest == 0, np.float32(0), [[end] / largest for end in ENDS])  # (2, n)
    codes = np.searchsorted(BOUNDS, rows * inverses[..., None])  # (2, n, 32)
    values = LEVELS[codes]
    products, squares = (rows * values).sum(axis=-1), np.square(values).sum(axis=-1)  # (2, n)
    best = np.square(products) / squares
    second = best[1] > best[0]
    blocks = np.empty(len(rows), iq4_nl.LAYOUT)
    blocks["d"] = np.where(second, *(products / squares)[::-1])
    chosen = np.where(second[:, None], codes[1], codes[0]).astype(np.uint8)
    blocks["qs"] = chosen[:, :16] | chosen[:, 16:] << 4
    return blocks.view(np.uint8).reshape(*x.shape[:-1], -1)


def decode(kept: NDArray) -> Floats:
    """The numbers of such bytes."""
    return iq4_nl.FORMAT.dequantize(np.ascontiguousarray(kept).view(iq4_nl.LAYOUT))
