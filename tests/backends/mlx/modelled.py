"""The NumPy model of the Metal kernels in the kernels' place: what is built on them runs on a CPU."""

import mlx.core as mx
import numpy as np

from localmix.backends.mlx.metal import model
from localmix.backends.mlx.metal.lanes import TABLE


class ModelKernels:
    """Kernels of one format that compute on the host, at once."""

    def __init__(self, name: str) -> None:
        self._lanes = TABLE[name]

    def product(self, blocks: mx.array, x: mx.array, rows: mx.array, matrices: mx.array) -> mx.array:
        bytes = np.array(blocks).reshape(*blocks.shape[:2], -1, self._lanes.size)
        pairs = zip(rows.tolist(), matrices.tolist(), strict=True)
        y = [model.product(self._lanes, bytes[e], np.array(x[t].astype(mx.float32))) for t, e in pairs]
        return mx.array(np.stack(y)).astype(x.dtype)

    def expand(self, blocks: mx.array, dtype: mx.Dtype) -> mx.array:
        bytes = np.array(blocks).reshape(-1, blocks.shape[-1] // self._lanes.size, self._lanes.size)
        return mx.array(model.expand(self._lanes, bytes)).astype(dtype).reshape(*blocks.shape[:-1], -1)


KERNELS = {name: ModelKernels(name) for name in TABLE}
