"""What a weight format is: a block layout and the two directions between bytes and numbers.

A block is `block` consecutive weights of one row. Its bytes are declared once, as a NumPy structured dtype,
so that `raw.view(dtype)` is the zero-copy read and kernels take their constants from the layout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.void]
Floats = NDArray[np.float32]

LARGEST_SINGLE, LARGEST_BFLOAT, LARGEST_HALF = float(np.finfo(np.float32).max), float.fromhex("0x1.fep127"), 65504.0


@dataclass(frozen=True)
class Format:
    """One weight format of GGUF.

    `dequantize` takes blocks of any shape (..., n) and gives float32 (..., n * block).
    `quantize` takes float32 rows (R, K), K a multiple of `block`, and an importance (K,) or None, the mean
    square of each input that the row is multiplied with; it gives blocks (R, K // block). None: this format
    is read only.
    """

    name: str  # as the user types it and as the module is called: "q4_k"
    ggml: int  # the type's number in a GGUF file
    block: int  # weights in a block
    dtype: np.dtype  # layout of one block
    dequantize: Callable[[NDArray], Floats]
    quantize: Callable[[Floats, Floats | None], NDArray] | None = None

    @property
    def bits(self) -> float:
        """Bits a weight, scales included."""
        return self.dtype.itemsize * 8 / self.block

    @property
    def largest(self) -> float:
        """No weight may be of larger magnitude: what the number can be that it is stored as, or that its scale is."""
        return {"f32": LARGEST_SINGLE, "bf16": LARGEST_BFLOAT}.get(self.name, LARGEST_HALF)

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of `width` weights; `width` must be a multiple of the block."""
        assert width % self.block == 0, (self.name, width)
        return width // self.block * self.dtype.itemsize
