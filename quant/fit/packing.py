"""Codes into bytes at the end of a search: what layout.py defines, 8 codes at a time.

NumPy takes runs of 16 to 64 bytes one by one, and longest to begin with each: that was a quarter of Q3_K's time.
"""

import numpy as np
from numpy.typing import NDArray

from quant import layout
from quant.coding import Coding
from quant.format import Blocks
from quant.jit import kernel

WORD = 8
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


def pack(fields: Bytes, bits: int, run: int) -> Bytes:
    """`layout.pack` of values below 2 ** bits, (R, N): bytes (R, N * bits // 8)."""
    if run % WORD:
        return layout.pack(fields, bits, run)
    packed = np.empty((len(fields), fields.shape[1] * bits // 8), np.uint8)
    words = fields.view(np.uint64).reshape(-1, 8 // bits, run // WORD)
    pack_words(words, bits, packed.view(np.uint64).reshape(-1, run // WORD))
    return packed


def put(blocks: Blocks, coding: Coding, patterns: Bytes) -> None:
    """The bits of all weights (n, block) into the fields of blocks (n,)."""
    for part in coding.parts:
        own = patterns >> np.uint8(part.at) if part.at else patterns
        if part.at + part.bits < coding.bits:
            own = own & np.uint8((1 << part.bits) - 1)
        blocks[part.field] = pack(own, part.bits, part.run)


@kernel
def pack_words(runs: Words, bits: int, packed: Words) -> None:
    """Runs (M, F, W) of 8 fields a word to words (M, W) of 8 bytes, F fields a byte: none leaves its byte."""
    for m in range(packed.shape[0]):
        for j in range(packed.shape[1]):
            word = runs[m, 0, j]
            for i in range(1, runs.shape[1]):
                word |= runs[m, i, j] << np.uint64(bits * i)
            packed[m, j] = word
