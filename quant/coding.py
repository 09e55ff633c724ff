"""How the blocks of a format hold codes under scales: declared once, and read by whoever multiplies, packs or repacks.

A weight is scale · value - minimum, and value = code - zero. Codes are unsigned and lie in bit fields (see layout.py);
scales, and minima, are numbers of a block, in many formats times small whole numbers of its groups.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from quant.layout import merge, unpack

Floats = NDArray[np.float32]
# blocks (..., n) -> the scales and the minima (None: none) of their groups, whole numbers (..., n, groups)
OfGroups = Callable[[NDArray], tuple[NDArray, NDArray | None]]


@dataclass(frozen=True)
class Bits:
    """A field of a block that holds `bits` bits of every code, in runs of bytes; they become bits `at` and up."""

    field: str
    bits: int
    run: int
    at: int = 0


@dataclass(frozen=True)
class Coding:
    """What lies where in a block. A layout without a field called `d` has others said here."""

    group: int  # weights that share a scale
    parts: tuple[Bits, ...]
    zero: int = 0  # the code of the value 0
    levels: tuple[int, ...] | None = None  # values that the bits name by their places; None: the bits are the code
    signed: bool = False  # the bits are the value itself, in two's complement
    scale: str = "d"  # field of the block's scale, a float16; in bytes it is an exponent (see `power`)
    power: int = 0  # of an exponent e: the scale is 2 ** (e - power)
    plus: str | None = None  # field that is added to every weight
    minus: str | None = None  # field that is taken off every weight, times the minimum of its group
    of_groups: OfGroups | None = None  # None: scales are the block's alone

    @property
    def bits(self) -> int:
        """Bits of a code as it is stored."""
        return max(part.at + part.bits for part in self.parts)

    @property
    def most(self) -> int:
        """The largest code that there may be."""
        return self.zero + max(self.levels) if self.levels else (1 << self.bits) - 1

    @property
    def mean(self) -> float:
        """The mean value where every pattern of bits is as frequent."""
        if self.levels:
            return sum(self.levels) / len(self.levels)
        return -0.5 if self.signed else self.most / 2 - self.zero

    @property
    def has_minima(self) -> bool:
        return self.plus is not None or self.minus is not None

    @cached_property
    def _codes_of_levels(self) -> NDArray[np.uint8]:
        return (np.array(self.levels) + self.zero).astype(np.uint8)

    def patterns(self, blocks: NDArray) -> NDArray[np.uint8]:
        """The bits of each weight of blocks (..., n): (..., n, block)."""
        pieces = [(part, unpack(blocks[part.field].view(np.uint8), part.bits, part.run)) for part in self.parts]
        return reduce(np.bitwise_or, [bits << np.uint8(part.at) if part.at else bits for part, bits in pieces])

    def codes(self, blocks: NDArray) -> NDArray[np.uint8]:
        """The codes of blocks (..., n): (..., n, block)."""
        bits = self.patterns(blocks)
        if self.levels:
            return self._codes_of_levels[bits]
        return bits + np.uint8(self.zero) if self.signed else bits

    def values(self, blocks: NDArray) -> NDArray:
        """The values of blocks (..., n): whole numbers of 8 bits (..., n, block)."""
        codes = self.codes(blocks)
        return (codes - np.uint8(self.zero)).view(np.int8) if self.zero else codes

    def scales(self, blocks: NDArray) -> tuple[Floats, Floats | None]:
        """The scales and the minima (None: all zero) of blocks (..., n): (..., n, groups), of which there is one
        where scales are the block's alone.
        """
        scale, minimum = self._scale(blocks), None
        if self.plus is not None:
            minimum = -blocks[self.plus].astype(np.float32)[..., None]
        if self.minus is not None:
            minimum = blocks[self.minus].astype(np.float32)[..., None]
        if self.of_groups is None:
            return scale, minimum
        scales, minima = self.of_groups(blocks)
        return scale * scales, minimum if minimum is None or minima is None else minimum * minima

    def dequantize(self, blocks: NDArray) -> Floats:
        """The weights of blocks (..., n): (..., n * block)."""
        values = self.values(blocks)
        scale, minimum = self.scales(blocks)
        weights = scale[..., None] * values.reshape(*scale.shape, values.shape[-1] // scale.shape[-1])
        if minimum is not None:
            weights -= minimum[..., None]
        return merge(merge(weights))

    def _scale(self, blocks: NDArray) -> Floats:
        scale = blocks[self.scale][..., None]
        if scale.dtype.kind == "f":
            return scale.astype(np.float32)
        return np.ldexp(np.float32(1), scale.astype(np.int32) - self.power)
