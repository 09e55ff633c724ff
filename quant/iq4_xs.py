"""IQ4_XS: 256 weights on IQ4_NL's levels in 8 groups, each with a signed 6-bit scale.

w = d * (scale - 32) * LEVELS[q]; the scales' low nibbles are in scales_l, their upper two bits in scales_h.
"""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import symmetric
from quant.fit.blocks import made
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.iq4_nl import LEVELS
from quant.layout import unpack

GRID = symmetric.Grid(groups=8, size=32, bottom=symmetric.UNEVEN, levels=32)
LAYOUT = np.dtype([("d", "<f2"), ("scales_h", "u1", 2), ("scales_l", "u1", 4), ("qs", "u1", 128)])


def of_groups(blocks: NDArray) -> tuple[NDArray[np.int8], None]:
    low, high = unpack(blocks["scales_l"], bits=4, run=1), unpack(blocks["scales_h"], bits=2, run=1)
    return (low | high << np.uint8(4)).view(np.int8) - np.int8(32), None


CODING = Coding(group=32, parts=(Bits("qs", bits=4, run=16),), zero=128, levels=LEVELS, of_groups=of_groups)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = symmetric.fit(rows, importance, GRID)
    scales = (fit.scales + np.int8(32)).view(np.uint8)
    low, high = pack(scales & np.uint8(15), bits=4, run=1), pack(scales >> np.uint8(4), bits=2, run=1)
    return made(rows, LAYOUT, CODING, fit.codes, d=fit.d, scales_l=low, scales_h=high)


FORMAT = Format("iq4_xs", 23, 256, LAYOUT, CODING, quantize, error=5.6e-3, fallback="iq4_nl")
