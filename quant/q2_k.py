"""Q2_K: 256 weights of 2 bits in 16 groups, each with a 4-bit scale and a 4-bit minimum.

w = d * scale * q - dmin * minimum, scale in the low nibble and minimum in the high one.
"""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import affine
from quant.fit.blocks import made
from quant.format import Floats, Format

GRID = affine.Grid(groups=16, size=16, top=3, levels=15)
LAYOUT = np.dtype([("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")])


def of_groups(blocks: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return blocks["scales"] & np.uint8(15), blocks["scales"] >> np.uint8(4)


CODING = Coding(group=16, parts=(Bits("qs", bits=2, run=32),), minus="dmin", of_groups=of_groups)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = affine.fit(rows, importance, GRID)
    scales = fit.scales | fit.minima << np.uint8(4)
    return made(rows, LAYOUT, CODING, fit.codes, d=fit.d, dmin=fit.dmin, scales=scales)


FORMAT = Format("q2_k", 10, 256, LAYOUT, CODING, quantize, error=7.12e-2, fallback="iq4_nl")
