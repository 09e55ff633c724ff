"""What a weight format is: a block layout and the two directions between bytes and numbers.

A block is `block` consecutive weights of one row. Its bytes are declared once, as a NumPy structured dtype,
so that `raw.view(dtype)` is the zero-copy read and kernels take their constants from the layout.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from quant.coding import Coding

Blocks = NDArray[np.void]
Floats = NDArray[np.float32]

LARGEST_SINGLE, LARGEST_BFLOAT, LARGEST_HALF = float(np.finfo(np.float32).max), float.fromhex("0x1.fep127"), 65504.0


@dataclass(frozen=True)
class Format:
    """One weight format of GGUF.

    All that depends on a format alone is said here; who multiplies, converts or estimates asks.
    `quantize` takes float32 rows (R, K), K a multiple of `block`, and an importance (K,) or None, the mean
    square of each input that the row is multiplied with; it gives blocks (R, K // block). None: this format
    is read only.
    """

    name: str  # as the user types it and as the module is called: "q4_k"
    ggml: int  # the type's number in a GGUF file
    block: int  # weights in a block
    dtype: np.dtype  # layout of one block
    meaning: Coding | Callable[[NDArray], Floats]  # of blocks; a function where no coding can say it
    quantize: Callable[[Floats, Floats | None], NDArray] | None = None
    _: KW_ONLY
    error: float  # mean square error of normal rows over their mean square
    fallback: str = "f16"  # for rows that do not divide: the next format of about the same width with a smaller block
    largest: float = LARGEST_HALF  # magnitude of a weight: what it can be itself, or what its scale can

    @property
    def coding(self) -> Coding | None:
        """Where codes and scales lie; None: the meaning is a function."""
        return self.meaning if isinstance(self.meaning, Coding) else None

    def dequantize(self, blocks: NDArray) -> Floats:
        """Float32 (..., n * block) of blocks of any shape (..., n)."""
        return self.meaning.dequantize(blocks) if isinstance(self.meaning, Coding) else self.meaning(blocks)

    @property
    def bits(self) -> float:
        """Bits a weight, scales included."""
        return self.dtype.itemsize * 8 / self.block

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of `width` weights; `width` must be a multiple of the block."""
        assert width % self.block == 0, (self.name, width)
        return width // self.block * self.dtype.itemsize
