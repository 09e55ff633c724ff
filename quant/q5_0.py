"""Q5_0: 32 weights of 5 bits under one scale. w = d * (q - 16); qh holds the fifth bits in order."""

import numpy as np
from numpy.typing import NDArray

from quant.fit import symmetric
from quant.fit.direct import round_signed
from quant.fit.packing import pack
from quant.format import Floats, Format
from quant.layout import merge, single, unpack

GRID = symmetric.Grid(groups=1, size=32, bottom=16, levels=1)
LAYOUT = np.dtype([("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])


def codes(blocks: NDArray) -> NDArray[np.uint8]:
    """The 5-bit values of Q5_0 and Q5_1 blocks (..., n): uint8 (..., n, 32)."""
    return unpack(blocks["qs"], bits=4, run=16) | unpack(blocks["qh"], bits=1, run=1) << np.uint8(4)


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * (codes(blocks).view(np.int8) - np.int8(16)))


def put_codes(blocks: NDArray, codes: NDArray[np.uint8]) -> None:
    """The inverse of `codes`, in place: blocks (n,) and their 5-bit values (n, 32)."""
    blocks["qs"] = pack(codes & np.uint8(15), bits=4, run=16)
    blocks["qh"] = pack(codes >> np.uint8(4), bits=1, run=1)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """Without an importance the definition that all programs share; with one a search for the best scale."""
    if importance is None:
        return round_signed(rows, 16, LAYOUT)
    d, q = symmetric.fit_single(rows, importance, GRID)
    blocks = np.empty(len(d), LAYOUT)
    blocks["d"] = d
    put_codes(blocks, q)
    return blocks.reshape(len(rows), -1)


FORMAT = Format("q5_0", 6, 32, LAYOUT, dequantize, quantize)
