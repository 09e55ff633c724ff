"""Q4_K: 256 weights of 4 bits in 8 groups, each with a 6-bit scale and a 6-bit minimum.

w = d * scale * q - dmin * minimum. Of the 12 bytes of scales the first 4 hold scales 0 to 3, the next 4
minima 0 to 3; their upper two bits, and the nibbles of the last 4 bytes, make scales and minima 4 to 7.
"""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit import affine
from quant.fit.blocks import made
from quant.format import Floats, Format

GRID = affine.Grid(groups=8, size=32, top=15, levels=63)
LAYOUT = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)])


def of_groups(blocks: NDArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The scales and the minima, uint8 (..., 8) each, of blocks of Q4_K or Q5_K."""
    packed = blocks["scales"]
    scale, minimum, rest = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    lower, upper = np.uint8(0x3F), np.uint8(0x30)
    scales = np.concatenate([scale & lower, rest & np.uint8(15) | scale >> np.uint8(2) & upper], axis=-1)
    minima = np.concatenate([minimum & lower, rest >> np.uint8(4) | minimum >> np.uint8(2) & upper], axis=-1)
    return scales, minima


def pack_scales(scales: NDArray[np.uint8], minima: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `of_groups`: 6-bit values (..., 8) each to bytes (..., 12)."""
    four, six = np.uint8(4), np.uint8(6)
    upper_scales, upper_minima = scales[..., 4:], minima[..., 4:]
    first = scales[..., :4] | upper_scales >> four << six
    second = minima[..., :4] | upper_minima >> four << six
    return np.concatenate([first, second, upper_scales & np.uint8(15) | upper_minima << four], axis=-1)


CODING = Coding(group=32, parts=(Bits("qs", bits=4, run=32),), minus="dmin", of_groups=of_groups)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    fit = affine.fit(rows, importance, GRID)
    scales = pack_scales(fit.scales, fit.minima)
    return made(rows, LAYOUT, CODING, fit.codes, d=fit.d, dmin=fit.dmin, scales=scales)


FORMAT = Format("q4_k", 12, 256, LAYOUT, CODING, quantize, error=4.95e-3, fallback="q5_0")
