"""Q8_0: 32 weights as signed bytes under one scale. w = d * q."""

import numpy as np
from numpy.typing import NDArray

from quant.fit.direct import round_bytes
from quant.format import Floats, Format
from quant.layout import merge, single

LAYOUT = np.dtype([("d", "<f2"), ("qs", "i1", 32)])


def dequantize(blocks: NDArray) -> Floats:
    return merge(single(blocks["d"]) * blocks["qs"])


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """The plain definition: at 8 bits an importance changes nothing that matters."""
    return round_bytes(rows, LAYOUT)


FORMAT = Format("q8_0", 8, 32, LAYOUT, dequantize, quantize)
