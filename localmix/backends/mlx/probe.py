"""How fast the GPU reads its memory: the bound of decoding there."""

import time

import mlx.core as mx

_SIZE = 1 << 30  # bytes: far more than the last-level cache
_REPEATS = 8
_WIDTH = 4096


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
