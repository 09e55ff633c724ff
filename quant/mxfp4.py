"""MXFP4: 32 weights as 4-bit floats (E2M1) under a shared power of two, from the OCP microscaling standard.

w = 2 ** (e - 128) * LEVELS[q]; the levels are doubled to be integers, hence 128 and not the bias of 127.
"""

import numpy as np

from quant.coding import Bits, Coding
from quant.format import Format

LAYOUT = np.dtype([("e", "u1"), ("qs", "u1", 16)])
LEVELS = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
CODING = Coding(group=32, parts=(Bits("qs", bits=4, run=16),), zero=16, levels=LEVELS, scale="e", power=128)

FORMAT = Format("mxfp4", 39, 32, LAYOUT, CODING, error=0.0)  # only ever kept as it was trained
