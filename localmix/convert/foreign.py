"""Number formats that checkpoints have and GGUF files have not: double precision, and two floats of 8 bits.

E4M3 ("fn": no infinity, one NaN a sign) and E5M2 are those of https://arxiv.org/abs/2209.05433. Read only.
"""

import numpy as np
from numpy.typing import NDArray

from quant.format import Floats, Format

_NOWHERE = -1  # no number of GGUF


def _values(exponent_bits: int, mantissa_bits: int, *, has_infinity: bool) -> Floats:
    """The 256 numbers of a float of 8 bits, by their code."""
    codes = np.arange(256)
    exponent, mantissa = codes >> mantissa_bits & (1 << exponent_bits) - 1, codes & (1 << mantissa_bits) - 1
    bias, steps = (1 << exponent_bits - 1) - 1, 1 << mantissa_bits
    values = np.where(
        exponent == 0,
        mantissa / steps * 2.0 ** (1 - bias),
        (1 + mantissa / steps) * 2.0 ** (exponent.astype(np.float64) - bias),
    )
    top = exponent == (1 << exponent_bits) - 1
    if has_infinity:
        values = np.where(top, np.where(mantissa == 0, np.inf, np.nan), values)
    else:
        values = np.where(top & (mantissa == steps - 1), np.nan, values)
    return np.where(codes < 128, values, -values).astype(np.float32)


_E4M3, _E5M2 = _values(4, 3, has_infinity=False), _values(5, 2, has_infinity=True)


def _narrow(blocks: NDArray) -> Floats:
    """Doubles as singles; those that are too large become infinite, which is found where all weights are checked."""
    with np.errstate(over="ignore"):
        return blocks.astype(np.float32)


F64 = Format("f64", _NOWHERE, 1, np.dtype("<f8"), _narrow, error=0.0)
F8_E4M3 = Format("f8_e4m3", _NOWHERE, 1, np.dtype("u1"), lambda blocks: _E4M3[blocks], error=0.0)
F8_E5M2 = Format("f8_e5m2", _NOWHERE, 1, np.dtype("u1"), lambda blocks: _E5M2[blocks], error=0.0)
U8 = Format("u8", _NOWHERE, 1, np.dtype("u1"), lambda blocks: blocks.astype(np.float32), error=0.0)  # bytes, no weights
EIGHT_BITS = (F8_E4M3, F8_E5M2)
