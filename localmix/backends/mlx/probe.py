"""How fast the GPU reads its memory, the bound of decoding there; and how fast weights are repacked for it."""

import os
import time

import mlx.core as mx
import numpy as np

from localmix.backends.mlx.matrix import Arithmetic
from localmix.backends.mlx.repack import repack
from localmix.engine.weights import Weight
from quant.format import Format

_SIZE = 1 << 30  # bytes: far more than the last-level cache
_REPEATS = 8
_WIDTH = 4096
_ROWS = 512  # of an expert


def read_rate(size: int = _SIZE) -> float:
    """Bytes a second, the best of several: a sum, and a row through a matrix."""
    data = mx.ones((size // (2 * _WIDTH), _WIDTH), mx.float16)
    row = mx.ones((1, _WIDTH), mx.float16)
    mx.eval(data, row)
    best = 0.0
    for _ in range(_REPEATS):
        for read in (lambda: data.max(), lambda: row @ data.T):
            start = time.perf_counter()
            mx.eval(read())
            best = max(best, data.nbytes / (time.perf_counter() - start))
    return best


def repack_rate(format: Format, arithmetic: Arithmetic) -> float:
    """Bytes of a format a second, on all cores: experts of no numbers but zero."""
    data = np.zeros((_ROWS, _WIDTH // format.block), format.dtype)
    experts = tuple(Weight("zero", format, (_ROWS, _WIDTH), data) for _ in range(os.cpu_count() or 1))
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        repack(experts, arithmetic)
        best = max(best, len(experts) * data.nbytes / (time.perf_counter() - start))
    return best
