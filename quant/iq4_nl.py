"""IQ4_NL: 32 weights of 4 bits that name one of 16 unevenly spaced levels. w = d * LEVELS[q]."""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import symmetric
from quant.fit.blocks import made
from quant.format import Floats, Format

GRID = symmetric.Grid(groups=1, size=32, bottom=symmetric.UNEVEN, levels=1)
LEVELS = tuple(int(level) for level in symmetric.LEVELS)
LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])
CODING = Coding(group=32, parts=(Bits("qs", bits=4, run=16),), zero=128, levels=LEVELS)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    d, codes = symmetric.fit_single(rows, importance, GRID)
    return made(rows, LAYOUT, CODING, codes, d=d)


FORMAT = Format("iq4_nl", 20, 32, LAYOUT, CODING, quantize, error=5.5e-3)
