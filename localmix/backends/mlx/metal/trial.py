"""One format's Metal kernels tried on this GPU: are they right, and are they faster than MLX's own."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx.forms import GROUP, form_of
from localmix.backends.mlx.metal.kernels import Kernels
from quant import FORMATS
from quant.format import Floats

_SIZE = 4096  # of the matrix that is timed: one of Mixtral's attention
_WEIGHT = 0.02  # root mean square
_TIMES = 20  # products queued at once, so that starting one does not count
_BOUND = 2e-3  # error over the largest result, in 16 bits


@dataclass(frozen=True)
class Trial:
    """`error` is relative to the largest result; times are seconds a product with one row of activations."""

    error: float
    seconds: float
    mlx_seconds: float

    @property
    def passed(self) -> bool:
        return self.error < _BOUND  # a NaN is not

    @property
    def faster(self) -> bool:
        return self.seconds < self.mlx_seconds


def attempt(name: str, kernels: Kernels, size: int = _SIZE) -> Trial:
    """RuntimeError: Metal does not take the source."""
    return Trial(_error(name, kernels), *_times(name, kernels, size))


def random_blocks(name: str, rows: int, width: int) -> NDArray:
    """Random codes and scales that make weights of the size of a model's: blocks (rows, width / block)."""
    format, rng = FORMATS[name], np.random.default_rng(0)
    if format.dtype.names is None:
        assert format.quantize is not None, name
        return format.quantize(rng.standard_normal((rows, width)).astype(np.float32) * np.float32(_WEIGHT), None)
    blocks = rng.integers(0, 256, (rows, format.row_bytes(width)), np.uint8).view(format.dtype)
    if "e" in format.dtype.names:
        blocks["e"] = rng.integers(116, 120, blocks.shape)  # powers of two
        return blocks
    scales = {"d", "dmin", "m"} & set(format.dtype.names)
    for field in scales:
        blocks[field] = rng.uniform(0.5, 1.5, blocks.shape)
    size = np.sqrt(np.square(format.dequantize(blocks[:1])).mean())
    for field in scales:
        blocks[field] *= np.float16(_WEIGHT / size)
    return blocks


def _error(name: str, kernels: Kernels) -> float:
    """Of all kernels: single matrices and stacks, rows that do not fill a group of lanes."""
    stack, out, width, pairs = 3, 37, 768, 5
    blocks, rng = random_blocks(name, stack * out, width), np.random.default_rng(1)
    weights = FORMATS[name].dequantize(blocks).reshape(stack, out, width)
    device = mx.array(blocks.view(np.uint8).reshape(stack, out, -1))
    x = rng.standard_normal((pairs, width)).astype(np.float16)
    rows, matrices = rng.integers(0, pairs, pairs), rng.integers(0, stack, pairs)
    y = kernels.product(device, mx.array(x), mx.array(rows), mx.array(matrices))
    wanted = np.einsum("nd,nod->no", x[rows].astype(np.float32), weights[matrices])
    unpacked = kernels.expand(device, mx.float16)
    return float(np.max([_distance(y, wanted), _distance(unpacked, weights)]))  # of a NaN a NaN


def _distance(got: mx.array, wanted: Floats) -> float:
    return float(np.abs(np.array(got.astype(mx.float32)) - wanted).max() / np.abs(wanted).max())


def _times(name: str, kernels: Kernels, size: int) -> tuple[float, float]:
    """Seconds of a product: ours, and MLX's with the form that the format would else take."""
    form = form_of(FORMATS[name], half=True)
    bits, width = int(form.code_bits), size * (2 if form.spread else 1)
    x = mx.random.normal((1, width)).astype(mx.float16)
    codes = mx.random.randint(0, 1 << 30, (size, width * bits // 32)).astype(mx.uint32)
    scales = mx.random.normal((size, width // GROUP)).astype(mx.float16)
    blocks = mx.array(random_blocks(name, size, size).view(np.uint8).reshape(1, size, -1))
    zero, short = mx.zeros(1, mx.uint32), x[:, :size]
    mx.eval(codes, scales, blocks, zero, short)
    return (
        _median_seconds(lambda: kernels.product(blocks, short, zero, zero)),
        _median_seconds(lambda: mx.quantized_matmul(x, codes, scales, scales, True, GROUP, bits)),
    )


def _median_seconds(once: Callable[[], mx.array]) -> float:
    mx.eval(once())  # compiles
    runs = []
    for _ in range(5):
        start = time.perf_counter()
        mx.eval([once() for _ in range(_TIMES)])
        runs.append((time.perf_counter() - start) / _TIMES)
    return float(np.median(runs))
