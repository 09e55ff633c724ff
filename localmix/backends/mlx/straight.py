"""A matrix whose blocks are on the device as they are in the file, for formats that have kernels of their own.

One token, or few, are multiplied with the blocks directly. For many the weights are unpacked a slice at a time
and multiplied by MLX's own kernels: unpacking is then a small part of it, and memory stays bounded.
"""

from dataclasses import dataclass

import mlx.core as mx

from localmix.backends.mlx.matrix import Arithmetic
from localmix.backends.mlx.metal.kernels import Kernels

_FEW = 8  # rows of activations that are multiplied with blocks
_FEW_PAIRS = 32  # pairs of a row and an expert
_SLICE = 1 << 26  # weights unpacked at a time: 128 MiB of float16


@dataclass(frozen=True, eq=False)
class Blocks:
    """(out, in) or (E, out, in)."""

    arithmetic: Arithmetic
    kernels: Kernels
    blocks: mx.array  # (…, out, bytes of a row) uint8

    @property
    def nbytes(self) -> int:
        return self.blocks.nbytes

    def multiply(self, x: mx.array) -> mx.array:
        a = self.arithmetic
        x = a.enter(x)
        if len(x) <= _FEW:
            rows = mx.arange(len(x), dtype=mx.uint32)
            return a.leave(self.kernels.product(self.blocks[None], x, rows, mx.zeros_like(rows)))
        return a.leave(mx.concatenate([x @ part.T for part in self._slices(x.shape[1])], axis=-1))

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        a = self.arithmetic
        x = a.enter(x)
        if experts.size <= _FEW_PAIRS:
            every = mx.arange(experts.size, dtype=mx.uint32) if rows is None else rows
            return a.leave(self.kernels.product(self.blocks, x, every, experts))
        parts = [
            mx.gather_mm(
                x[:, None],
                part.swapaxes(-1, -2),
                lhs_indices=rows,
                rhs_indices=experts,
                sorted_indices=rows is None,
            )[:, 0]
            for part in self._slices(x.shape[1])
        ]
        return a.leave(mx.concatenate(parts, axis=-1))

    def rows(self, ids: mx.array) -> mx.array:
        return self.kernels.expand(self.blocks[ids], mx.float32)

    def _slices(self, width: int) -> list[mx.array]:
        """Weights (…, some of out, in) of all matrices, in order."""
        *stack, out, _ = self.blocks.shape
        step = max(1, _SLICE // (width * (stack[0] if stack else 1)))
        kernels, type = self.kernels, self.arithmetic.products
        return [kernels.expand(self.blocks[..., at : at + step, :], type) for at in range(0, out, step)]
