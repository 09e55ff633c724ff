"""The Metal kernels in NumPy, lane by lane, from the same table: what is right here is right there.

Shapes: R rows · B blocks of 256 weights a row. Blocks are raw bytes (R, B, block bytes).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx.metal.lanes import COLUMNS, LANES, WEIGHTS, Lanes, offset
from quant.format import Floats

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """What one lane reads of every block in one field."""

    weight: int  # of a block, the first of `run`
    codes: NDArray[np.int32]  # (R, B, run), the zero taken off
    scale: Floats  # (R, B)
    minimum: Floats | None


def product(lanes: Lanes, blocks: Bytes, x: Floats) -> Floats:
    """Rows times x (B · 256,): (R,)."""
    x = x.reshape(-1, WEIGHTS)  # (B, 256)
    sums = np.zeros((LANES, len(blocks)), np.float32)
    for lane, piece in _pieces(lanes, blocks):
        mine = x[:, piece.weight : piece.weight + lanes.run]  # (B, run)
        dots = piece.scale * (piece.codes * mine).sum(axis=-1, dtype=np.float32)
        if piece.minimum is not None:
            dots -= piece.minimum * mine.sum(axis=-1)
        sums[lane] += dots.sum(axis=-1)
    return sums.sum(axis=0)


def expand(lanes: Lanes, blocks: Bytes) -> Floats:
    """Weights (R, B · 256)."""
    out = np.empty((*blocks.shape[:2], WEIGHTS), np.float32)
    for _, piece in _pieces(lanes, blocks):
        weights = piece.scale[..., None] * piece.codes
        if piece.minimum is not None:
            weights -= piece.minimum[..., None]
        out[..., piece.weight : piece.weight + lanes.run] = weights
    return out.reshape(len(blocks), -1)


def _pieces(lanes: Lanes, blocks: Bytes) -> Iterator[tuple[int, Piece]]:
    d = _half(blocks, offset(lanes.layout, "d"))
    dmin = _half(blocks, offset(lanes.layout, "dmin")) if lanes.minima else None
    for lane, fields in enumerate(lanes.table().astype(int)):
        for row in fields:
            at = dict(zip(COLUMNS, row.tolist(), strict=True))
            low = _bits(blocks[..., at["low"] : at["low"] + lanes.run], at["low_shift"], lanes.low_mask)
            high = _bits(blocks[..., at["high"] : at["high"] + lanes.run], at["high_shift"], lanes.high_mask)
            scale = (_level(blocks, at, "scale") ^ lanes.scale_sign) - lanes.scale_zero
            yield (
                lane,
                Piece(
                    weight=at["weight"],
                    codes=(low | high << lanes.high_at) - lanes.zero,
                    scale=d * scale.astype(np.float32),
                    minimum=None if dmin is None else dmin * _level(blocks, at, "least").astype(np.float32),
                ),
            )


def _level(blocks: Bytes, at: dict[str, int], name: str) -> NDArray[np.int32]:
    """A scale or a minimum of each block: low bits and top bits."""
    low = _bits(blocks[..., at[name]], at[f"{name}_shift"], at[f"{name}_mask"])
    return low | _bits(blocks[..., at[f"{name}_top"]], at[f"{name}_top_shift"], at[f"{name}_top_mask"]) << 4


def _bits(data: Bytes, shift: int, mask: int) -> NDArray[np.int32]:
    return data.astype(np.int32) >> shift & mask


def _half(blocks: Bytes, at: int) -> Floats:
    return np.ascontiguousarray(blocks[..., at : at + 2]).view("<f2")[..., 0].astype(np.float32)
