"""Q4_0: 32 weights of 4 bits under one scale. w = d * (q - 8); the first 16 weights are the low nibbles."""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import symmetric
from quant.fit.blocks import made
from quant.fit.direct import round_signed
from quant.format import Floats, Format

GRID = symmetric.Grid(groups=1, size=32, bottom=8, levels=1)
LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])
CODING = Coding(group=32, parts=(Bits("qs", bits=4, run=16),), zero=8)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Without an importance the definition that all programs share; with one a search for the best scale."""
    if importance is None:
        return round_signed(rows, 8, LAYOUT)
    d, codes = symmetric.fit_single(rows, importance, GRID)
    return made(rows, LAYOUT, CODING, codes, d=d)


FORMAT = Format("q4_0", 2, 32, LAYOUT, CODING, quantize, error=7.4e-3)
