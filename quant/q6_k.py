"""Q6_K: 256 weights of 6 bits in 16 groups, each with a signed 8-bit scale. w = d * scale * (q - 32)."""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import symmetric
from quant.fit.blocks import made
from quant.format import Floats, Format

GRID = symmetric.Grid(groups=16, size=16, bottom=32, levels=128)
LAYOUT = np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")])


def of_groups(blocks: NDArray) -> tuple[NDArray[np.int8], None]:
    return blocks["scales"], None


CODING = Coding(
    group=16, parts=(Bits("ql", bits=4, run=64), Bits("qh", bits=2, run=32, at=4)), zero=32, of_groups=of_groups
)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = symmetric.fit(rows, importance, GRID)
    return made(rows, LAYOUT, CODING, fit.codes, d=fit.d, scales=fit.scales)


FORMAT = Format("q6_k", 14, 256, LAYOUT, CODING, quantize, error=2.8e-4, fallback="q8_0")
