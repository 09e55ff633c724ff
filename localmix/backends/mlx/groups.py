"""GGUF blocks as scaled groups of integer codes: w = scale · code + bias. NumPy only.

All of it follows from a format's coding. That it says what the format's `dequantize` says is tested, bit for bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant.coding import Coding
from quant.format import Floats


@dataclass(frozen=True)
class Groups:
    """`bias` is an array (..., groups), or the integer z of w = scale · (code - z)."""

    codes: NDArray[np.uint8]  # (..., groups, weights of a group)
    scales: Floats  # (..., groups)
    bias: Floats | int


def split(coding: Coding, blocks: NDArray) -> Groups:
    """The groups of blocks (..., n), all of a row after one another."""
    scales, minima = coding.scales(blocks)  # (..., n, groups of a block)
    groups = (*blocks.shape[:-1], -1)
    bias = coding.zero if minima is None else -minima.reshape(groups)
    return Groups(coding.codes(blocks).reshape(*groups, coding.group), scales.reshape(groups), bias)
