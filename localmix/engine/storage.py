"""How keys and values are kept: as 16 or 32 bit numbers, or in blocks of 8 or 4 bits as weights are."""

import numpy as np
from numpy.typing import NDArray

from localmix.engine import fourbits
from localmix.errors import LocalmixError
from quant import FORMATS, iq4_nl
from quant.format import Floats, Format


class Storage:
    """How the d numbers of one head at one position are kept: as elements of `dtype`."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)

    def elements(self, d: int) -> int:
        """How many hold d numbers. LocalmixError: heads of this size cannot be kept so."""
        return d

    def encode(self, x: Floats) -> NDArray:
        """Keys, then values, floats (2, ..., d), as elements (2, ..., n)."""
        return x.astype(self.dtype)

    def decode(self, kept: NDArray) -> Floats:
        """Elements (2, ..., n) as floats (2, ..., d)."""
        return kept.astype(np.float32)


class _Blocks(Storage):
    """As bytes of blocks, quantized as weights are."""

    def __init__(self, format: Format) -> None:
        super().__init__("uint8")
        self._format = format

    def elements(self, d: int) -> int:
        name, block = self._format.name, self._format.block
        if d % block:
            raise LocalmixError(f"keys and values as {name}: head size {d} is not a multiple of {block}: use f16")
        return self._format.row_bytes(d)

    def encode(self, x: Floats) -> NDArray:
        assert self._format.quantize is not None
        blocks = self._format.quantize(np.ascontiguousarray(x).reshape(-1, x.shape[-1]), None)
        return blocks.view(np.uint8).reshape(*x.shape[:-1], -1)

    def decode(self, kept: NDArray) -> Floats:
        return self._format.dequantize(np.ascontiguousarray(kept).view(self._format.dtype))


class _FourBits(Storage):
    """As bytes of blocks of 4 bits, keys spread out."""

    def __init__(self) -> None:
        super().__init__("uint8")

    def elements(self, d: int) -> int:
        if d % fourbits.BLOCK:
            raise LocalmixError(f"keys and values as q4_0: head size {d} is not a multiple of 32: use f16")
        return d // fourbits.BLOCK * iq4_nl.LAYOUT.itemsize

    def encode(self, x: Floats) -> NDArray:
        return fourbits.encode(np.stack([fourbits.spread(x[0]), x[1]]))

    def decode(self, kept: NDArray) -> Floats:
        keys, values = fourbits.decode(kept)
        return np.stack([fourbits.spread(keys), values])


STORAGES = {
    "f16": Storage("float16"),
    "f32": Storage("float32"),
    "q8_0": _Blocks(FORMATS["q8_0"]),
    "q4_0": _FourBits(),
}


def storage(kv: str) -> Storage:
    """How keys and values are kept. LocalmixError: no such kind."""
    if kv not in STORAGES:
        raise LocalmixError(f"keys and values as {kv!r}: expected one of {', '.join(STORAGES)}")
    return STORAGES[kv]
