"""Q5_K: Q4_K with a fifth bit a weight, in qh. w = d * scale * q - dmin * minimum."""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import affine
from quant.fit.blocks import made
from quant.format import Floats, Format
from quant.q4_k import of_groups, pack_scales

GRID = affine.Grid(groups=8, size=32, top=31, levels=63)
LAYOUT = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)])
CODING = Coding(
    group=32,
    parts=(Bits("qs", bits=4, run=32), Bits("qh", bits=1, run=32, at=4)),
    minus="dmin",
    of_groups=of_groups,
)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = affine.fit(rows, importance, GRID)
    scales = pack_scales(fit.scales, fit.minima)
    return made(rows, LAYOUT, CODING, fit.codes, d=fit.d, dmin=fit.dmin, scales=scales)


FORMAT = Format("q5_k", 13, 256, LAYOUT, CODING, quantize, error=1.20e-3, fallback="q5_1")
