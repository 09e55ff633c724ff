"""How a block of a quantized format becomes unsigned codes, scales and minima: one emitter a format.

A weight is scale · (code - zero) - minimum. `emit(b, p)` builds the IR that reads the block at address p:
  codes   a list of <32 x i8>, 32 weights each, in order
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
    emit: Callable[[ir.IRBuilder, Any], tuple[list[Any], Any, Any]]

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
    fields = quant.FORMATS[name].dtype.fields
    assert fields is not None
    return int(fields[field][1])
