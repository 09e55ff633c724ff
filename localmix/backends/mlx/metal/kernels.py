"""The kernels of one format as functions of MLX arrays. Compiled by Metal when they are first called."""

from functools import cached_property
from typing import Any, Protocol

import mlx.core as mx

from localmix.backends.mlx.metal import source
from localmix.backends.mlx.metal.lanes import LANES, TABLE, WEIGHTS


class Kernels(Protocol):
    """What multiplies with blocks as they are in the file. Blocks are bytes (…, B · block bytes)."""

    def product(self, blocks: mx.array, x: mx.array, rows: mx.array, matrices: mx.array) -> mx.array:
        """Row `rows[n]` of x (T, in) times the transposed matrix `matrices[n]` of (E, out, bytes): (N, out)."""
        ...

    def expand(self, blocks: mx.array, dtype: mx.Dtype) -> mx.array:
        """The weights (…, in) of blocks (…, bytes)."""
        ...


class MetalKernels:
    """Those of one format, on a GPU of Apple."""

    def __init__(self, name: str) -> None:
        self._name, self._lanes = name, TABLE[name]

    def product(self, blocks: mx.array, x: mx.array, rows: mx.array, matrices: mx.array) -> mx.array:
        _, out, size = blocks.shape
        pairs, step = rows.size, source.ROWS * source.GROUPS
        # FEW makes another name: MLX passes arrays of fewer than 8 as constants, and compiles a name again
        # whenever its source is not the last one.
        sizes = [("T", x.dtype), ("BLOCKS", size // self._lanes.size), ("OUT", out), ("FEW", pairs < 8)]
        (y,) = self._product(
            inputs=[blocks, x, rows.astype(mx.uint32), matrices.astype(mx.uint32)],
            template=sizes,
            grid=(-(-out // step) * LANES * source.GROUPS, pairs, 1),
            threadgroup=(LANES * source.GROUPS, 1, 1),
            output_shapes=[(pairs, out)],
            output_dtypes=[x.dtype],
        )
        return y

    def expand(self, blocks: mx.array, dtype: mx.Dtype) -> mx.array:
        flat = blocks.reshape(-1, self._lanes.size)
        (y,) = self._expand(
            inputs=[flat],
            template=[("T", dtype)],
            grid=(-(-len(flat) // source.GROUPS) * LANES * source.GROUPS, 1, 1),
            threadgroup=(LANES * source.GROUPS, 1, 1),
            output_shapes=[(len(flat), WEIGHTS)],
            output_dtypes=[dtype],
        )
        return y.reshape(*blocks.shape[:-1], -1)

    @cached_property
    def _product(self) -> Any:
        return self._compiled("product", source.PRODUCT_INPUTS, source.product())

    @cached_property
    def _expand(self) -> Any:
        return self._compiled("expand", source.EXPAND_INPUTS, source.expand())

    def _compiled(self, what: str, inputs: list[str], body: str) -> Any:
        return mx.fast.metal_kernel(
            name=f"localmix_{self._name}_{what}",
            input_names=inputs,
            output_names=["y"],
            source=body,
            header=source.header(self._lanes),
        )
