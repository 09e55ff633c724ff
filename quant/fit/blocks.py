"""Blocks of a format from what a search found: codes, and numbers by the names of their fields."""

from typing import Any

import numpy as np

from quant.coding import Coding
from quant.fit.packing import put
from quant.format import Blocks, Floats


def made(rows: Floats, layout: np.dtype, coding: Coding, codes: Any, **numbers: Any) -> Blocks:
    """Blocks (R, n) of rows (R, n · block): codes (R n, block), and of each field numbers (R n, ...)."""
    blocks = np.empty(len(codes), layout)
    for name, values in numbers.items():
        blocks[name] = values
    put(blocks, coding, codes)
    return blocks.reshape(len(rows), -1)
