"""How a block of a quantized format becomes unsigned codes, scales and minima: one emitter a format.

A weight is scale · (code - zero) - minimum. `emit(b, p, q)` builds the IR that reads the blocks of 32 weights at the
addresses p and q, or the block of 256 at p:
  codes   a list of <64 x i8>, in order
  scales  <n x float>, one for each `group` weights
  minima  the same, or None where the format is symmetric about `zero`
Everything else, row products, tiles, rows of floats, is made from this by `rows.py` and `tiles.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

import quant


@dataclass(frozen=True)
class Codes:
    """One format's layout and emitter."""

    name: str
    group: int  # weights that share a scale: 16 or 32
    zero: int  # 0 or a power of two
    emit: Callable[[ir.IRBuilder, Any, Any], tuple[list[Any], Any, Any]]

    @property
    def dtype(self) -> np.dtype:
        return quant.FORMATS[self.name].dtype

    @property
    def block(self) -> int:
        """Weights in a block: 32 or 256."""
        return quant.FORMATS[self.name].block

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize


def offset(name: str, field: str) -> int:
    """Where a field lies in a block of the format."""
    return int(_fields(name)[field][1])


def size(name: str, field: str) -> int:
    """Bytes of a field."""
    return int(_fields(name)[field][0].itemsize)


def _fields(name: str) -> Any:
    return quant.FORMATS[name].dtype.fields
