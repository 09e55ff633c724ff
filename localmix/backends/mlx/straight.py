"""A matrix whose blocks are on the device as they are in the file, for formats that have kernels of their own.

One token, or few, are multiplied with the blocks directly. For many the weights are unpacked a slice at a time
and multiplied by MLX's own kernels: unpacking is then a small part of it, and memory stays bounded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from localmix.backends.mlx import calls
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
        return a.leave(self._in_slices(x, lambda part: x @ part.T))

    def gather(self, x: mx.array, experts: mx.array, rows: mx.array | None) -> mx.array:
        a = self.arithmetic
        x = a.enter(x)
        if experts.size <= _FEW_PAIRS and x.shape[1] == 1:
            every = mx.arange(experts.size, dtype=mx.uint32) if rows is None else rows
            return a.leave(self.kernels.product(self.blocks, x[:, 0], every, experts)[:, None])
        return a.leave(self._in_slices(x, lambda part: calls.gather_floats(x, part, experts, rows)))

    def rows(self, ids: mx.array) -> mx.array:
        return self.kernels.expand(self.blocks[ids], mx.float32)

    def _in_slices(self, x: mx.array, product: Callable[[mx.array], mx.array]) -> mx.array:
        """`product` of some of `out` after others: weights (…, some, in) to (…, some), in all (…, out).

        Evaluation is lazy, and in what order is MLX's affair: it would unpack matrices of several layers ahead. So
        every slice waits for `x` or the product before.
        """
        *stack, out, _ = self.blocks.shape
        step = max(1, _SLICE // (x.shape[-1] * (stack[0] if stack else 1)))
        parts: list[mx.array] = []
        for at in range(0, out, step):
            blocks = mx.depends(self.blocks[..., at : at + step, :], parts[-1] if parts else x)
            parts.append(product(self.kernels.expand(blocks, self.arithmetic.products)))
        return mx.concatenate(parts, axis=-1)
