"""Which bytes and bits each of 32 lanes reads of a block of 256 weights: one table of integers for each format.

The Metal source is generated from it and the NumPy model interprets it; neither knows a format. A lane takes
`run` neighbouring bytes of low bits and all fields in them. Every index is a linear form of the lane's digits
(a, b, c) and the field f, written as (base, a, b, c, f).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant import q2_k, q3_k, q4_k, q5_k, q6_k

LANES = 32
WEIGHTS = 256  # of a block
COLUMNS = (
    "weight", "low", "low_shift", "high", "high_shift",
    "scale", "scale_shift", "scale_mask", "scale_top", "scale_top_shift", "scale_top_mask",
    "least", "least_shift", "least_mask", "least_top", "least_top_shift", "least_top_mask",
)  # fmt: skip
"""Of a table's row. A scale, and a minimum, is its low bits | its top bits << 4, each (byte >> shift) & mask."""

Linear = tuple[int, int, int, int, int]
_NOWHERE: Linear = (0, 0, 0, 0, 0)


class Bits(NamedTuple):
    byte: int
    shift: int
    mask: int  # 0: nothing


_NOTHING = Bits(0, 0, 0)
Scales = tuple[Bits, Bits, Bits, Bits]  # scale, its top bits, minimum, its top bits


@dataclass(frozen=True)
class Lanes:
    """w = d · (scale - scale_zero) · (q - zero) - dmin · minimum, q = low bits | high bits << high_at."""

    layout: np.dtype
    scales: Callable[[np.dtype, int], Scales]  # of a group
    digits: tuple[int, int, int]  # how many values a, b and c have: lane = (a · |b| + b) · |c| + c
    fields: int
    run: int
    weight: Linear  # index of the first of `run` weights
    low: Linear  # the first of `run` bytes; the same for all fields
    low_shift: Linear
    low_mask: int
    high: Linear = _NOWHERE  # the first of `run` bytes that hold the high bits; the same for all fields
    high_shift: Linear = _NOWHERE
    high_mask: int = 0
    high_at: int = 0
    zero: int = 0
    group: int = 32  # weights under one scale
    scale_zero: int = 0
    scale_sign: int = 0  # a bit that is flipped first: 128 makes signed bytes unsigned

    @property
    def size(self) -> int:
        """Bytes of a block."""
        return self.layout.itemsize

    @property
    def minima(self) -> bool:
        return "dmin" in (self.layout.names or ())

    def table(self) -> NDArray[np.uint8]:
        """(LANES, fields, columns)."""
        rows = np.zeros((LANES, self.fields, len(COLUMNS)), np.uint8)
        for lane, a, b, c in _digits(self.digits):
            for f in range(self.fields):
                forms = (self.weight, self.low, self.low_shift, self.high, self.high_shift)
                indices = [base + pa * a + pb * b + pc * c + pf * f for base, pa, pb, pc, pf in forms]
                bits = self.scales(self.layout, indices[0] // self.group)
                rows[lane, f] = indices + [number for part in bits for number in part]
        return rows


def offset(layout: np.dtype, field: str) -> int:
    """Of a field in a block, in bytes."""
    assert layout.fields is not None
    return int(layout.fields[field][1])


def _digits(radix: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    order = np.ndindex(radix)
    return [(lane, *digits) for lane, digits in enumerate(order)]


def _six_bit(layout: np.dtype, g: int) -> Scales:
    """Q4_K and Q5_K: 12 bytes hold eight scales and eight minima of 6 bits."""
    at = offset(layout, "scales")
    if g < 4:
        return Bits(at + g, 0, 63), _NOTHING, Bits(at + 4 + g, 0, 63), _NOTHING
    return Bits(at + 4 + g, 0, 15), Bits(at + g - 4, 6, 3), Bits(at + 4 + g, 4, 15), Bits(at + g, 6, 3)


def _bytes(layout: np.dtype, g: int) -> Scales:
    return Bits(offset(layout, "scales") + g, 0, 255), _NOTHING, _NOTHING, _NOTHING


def _split(layout: np.dtype, g: int) -> Scales:
    """Q3_K: nibbles, and two bits in further bytes."""
    at = offset(layout, "scales")
    return Bits(at + g % 8, g // 8 * 4, 15), Bits(at + 8 + g % 4, g // 4 * 2, 3), _NOTHING, _NOTHING


def _nibbles(layout: np.dtype, g: int) -> Scales:
    byte = offset(layout, "scales") + g
    return Bits(byte, 0, 15), _NOTHING, Bits(byte, 4, 15), _NOTHING


TABLE: dict[str, Lanes] = {
    "q4_k": Lanes(
        q4_k.LAYOUT, _six_bit, digits=(2, 2, 8), fields=2, run=4,
        weight=(0, 128, 64, 4, 32), low=(offset(q4_k.LAYOUT, "qs"), 64, 32, 4, 0),
        low_shift=(0, 0, 0, 0, 4), low_mask=15,
    ),
    "q5_k": Lanes(
        q5_k.LAYOUT, _six_bit, digits=(2, 2, 8), fields=2, run=4,
        weight=(0, 128, 64, 4, 32), low=(offset(q5_k.LAYOUT, "qs"), 64, 32, 4, 0),
        low_shift=(0, 0, 0, 0, 4), low_mask=15,
        high=(offset(q5_k.LAYOUT, "qh"), 0, 0, 4, 0), high_shift=(0, 4, 2, 0, 1), high_mask=1, high_at=4,
    ),
    "q6_k": Lanes(
        q6_k.LAYOUT, _bytes, digits=(2, 2, 8), fields=2, run=4,
        weight=(0, 128, 32, 4, 64), low=(offset(q6_k.LAYOUT, "ql"), 64, 32, 4, 0),
        low_shift=(0, 0, 0, 0, 4), low_mask=15,
        high=(offset(q6_k.LAYOUT, "qh"), 32, 0, 4, 0), high_shift=(0, 0, 2, 0, 4), high_mask=3, high_at=4,
        zero=32, group=16, scale_zero=128, scale_sign=128,
    ),
    "q3_k": Lanes(
        q3_k.LAYOUT, _split, digits=(2, 1, 16), fields=4, run=2,
        weight=(0, 128, 0, 2, 32), low=(offset(q3_k.LAYOUT, "qs"), 32, 0, 2, 0),
        low_shift=(0, 0, 0, 0, 2), low_mask=3,
        high=(offset(q3_k.LAYOUT, "hmask"), 0, 0, 2, 0), high_shift=(0, 4, 0, 0, 1), high_mask=1, high_at=2,
        zero=4, group=16, scale_zero=32,
    ),
    "q2_k": Lanes(
        q2_k.LAYOUT, _nibbles, digits=(2, 1, 16), fields=4, run=2,
        weight=(0, 128, 0, 2, 32), low=(offset(q2_k.LAYOUT, "qs"), 32, 0, 2, 0),
        low_shift=(0, 0, 0, 0, 2), low_mask=3, group=16,
    ),
}  # fmt: skip
