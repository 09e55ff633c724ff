"""Q8_0: 32 weights as signed bytes under one scale. w = d * q."""

import numpy as np
from numpy.typing import NDArray

from quant.coding import Bits, Coding
from quant.fit.direct import round_bytes
from quant.format import Floats, Format

LAYOUT = np.dtype([("d", "<f2"), ("qs", "i1", 32)])
CODING = Coding(group=32, parts=(Bits("qs", bits=8, run=32),), zero=128, signed=True)


def quantize(rows: Floats, importance: Floats | None) -> NDArray:
    """The plain definition: at 8 bits an importance changes nothing that matters."""
    return round_bytes(rows, LAYOUT)


FORMAT = Format("q8_0", 8, 32, LAYOUT, CODING, quantize, error=2.9e-5)
