"""Q3_K: 256 weights of 3 bits in 16 groups, each with a signed 6-bit scale.

w = d * (scale - 32) * (q - 4), where the third bit of q lies in hmask. The scales' low nibbles are in the
first 8 of their 12 bytes, their upper two bits in the last 4.
"""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import symmetric
from quant.fit.blocks import made
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import unpack

GRID = symmetric.Grid(groups=16, size=16, bottom=4, levels=32)
LAYOUT = np.dtype([("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")])


def of_groups(blocks: NDArray) -> tuple[NDArray[np.int8], None]:
    low = unpack(blocks["scales"][..., :8], bits=4, run=8)
    high = unpack(blocks["scales"][..., 8:], bits=2, run=4)
    return (low | high << np.uint8(4)).view(np.int8) - np.int8(32), None


CODING = Coding(
    group=16, parts=(Bits("qs", bits=2, run=32), Bits("hmask", bits=1, run=32, at=2)), zero=4, of_groups=of_groups
)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = symmetric.fit(rows, importance, GRID)
    scales = (fit.scales + np.int8(32)).view(np.uint8)
    parts = [pack(scales & np.uint8(15), bits=4, run=8), pack(scales >> np.uint8(4), bits=2, run=4)]
    return made(rows, LAYOUT, CODING, fit.codes, d=fit.d, scales=np.concatenate(parts, axis=1))


FORMAT = Format("q3_k", 11, 256, LAYOUT, CODING, quantize, error=2.13e-2, fallback="iq4_nl")
