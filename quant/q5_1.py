"""Q5_1: 32 weights of 5 bits under a scale and a minimum. w = d * q + m; the bits lie as in Q5_0."""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import affine
from quant.fit.blocks import made
from quant.fit.direct import round_between
from quant.format import Floats, Format

GRID = affine.Grid(groups=1, size=32, top=31, levels=1)
LAYOUT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])
CODING = Coding(group=32, parts=(Bits("qs", bits=4, run=16), Bits("qh", bits=1, run=1, at=4)), plus="m")


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Without an importance the definition that all programs share; with one a search for scale and minimum."""
    if importance is None:
        return round_between(rows, 31, LAYOUT)
    d, m, codes = affine.fit_single(rows, importance, GRID)
    return made(rows, LAYOUT, CODING, codes, d=d, m=m)


FORMAT = Format("q5_1", 7, 32, LAYOUT, CODING, quantize, error=1.43e-3)
