"""One format's Metal kernels tried on this GPU: are they right, and are they faster than MLX's own."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx import calls
from localmix.backends.mlx.forms import GROUP, form_of
from localmix.backends.mlx.metal.kernels import Kernels
from quant import FORMATS
from quant.format import Floats

_SIZE = 4096  # of the matrices that are timed, as in Mixtral's attention
_STACK = 8  # how many there are, used in turn: together they are more than a cache holds
_WEIGHT = 0.02  # root mean square
_TIMES = 16  # pairs of products queued at once, so that starting one does not count
_ROUNDS = 12
_BOUND = 2e-3  # error over the largest result, in 16 bits


@dataclass(frozen=True)
class Trial:
    """`error` is relative to the largest result.

    Times are seconds for one row of activations through one matrix, and then through two experts of a stack.
    """

    error: float
    seconds: float
    mlx_seconds: float

    @property
    def passed(self) -> bool:
        return self.error < _BOUND  # a NaN is not

    @property
    def faster(self) -> bool:
        return self.seconds < self.mlx_seconds

    @property
    def text(self) -> str:
        """For people."""
        return f"error {self.error:.1e}, {self.seconds * 1e6:.0f} µs, MLX's own {self.mlx_seconds * 1e6:.0f} µs"


def attempt(name: str, kernels: Kernels, size: int = _SIZE) -> Trial:
    """RuntimeError: Metal does not take the source."""
    return Trial(_error(name, kernels), *_times(name, kernels, size))


def random_blocks(name: str, rows: int, width: int) -> NDArray:
    """Random codes and scales that make weights of the size of a model's: blocks (rows, width / block)."""
    format, rng = FORMATS[name], np.random.default_rng(0)
    if format.dtype.names is None:
        floats = rng.standard_normal((rows, width)).astype(np.float32) * np.float32(_WEIGHT)
        return (floats.view(np.uint32) >> 16).astype(np.uint16) if name == "bf16" else floats.astype(format.dtype)
    blocks = rng.integers(0, 256, (rows, format.row_bytes(width)), np.uint8).view(format.dtype)
    if format.coding and format.coding.power:
        blocks[format.coding.scale] = format.coding.power - rng.integers(9, 13, blocks.shape)
        return blocks
    scales = [name for name in format.dtype.names if format.dtype[name].kind == "f"]
    for field in scales:
        blocks[field] = rng.uniform(0.5, 1.5, blocks.shape)
    size = np.sqrt(np.square(format.dequantize(blocks[:1])).mean())
    for field in scales:
        blocks[field] *= np.float16(_WEIGHT / size)
    return blocks


def _error(name: str, kernels: Kernels) -> float:
    """Of all kernels: few and many pairs, which Metal gets in other ways, rows that do not fill a group of lanes."""
    stack, out, width = 3, 37, 768
    blocks, rng = random_blocks(name, stack * out, width), np.random.default_rng(1)
    weights = FORMATS[name].dequantize(blocks).reshape(stack, out, width)
    device = mx.array(blocks.view(np.uint8).reshape(stack, out, -1))
    errors = []
    for pairs, dtype in ((1, mx.float16), (5, mx.float32), (40, mx.float16)):
        x = rng.standard_normal((pairs, width)).astype(np.float16)
        rows, matrices = rng.integers(0, pairs, pairs), rng.integers(0, stack, pairs)
        y = kernels.product(device, mx.array(x).astype(dtype), mx.array(rows), mx.array(matrices))
        wanted = np.einsum("nd,nod->no", x[rows].astype(np.float32), weights[matrices])
        errors.append(_distance(y, wanted))
    for some, dtype in ((slice(None), mx.float32), (slice(3, 20), mx.float16)):
        errors.append(_distance(kernels.expand(device[:, some], dtype), weights[:, some]))
    return float(np.max(errors))  # of a NaN a NaN


def _distance(got: mx.array, wanted: Floats) -> float:
    return float(np.abs(np.array(got.astype(mx.float32)) - wanted).max() / np.abs(wanted).max())


def _times(name: str, kernels: Kernels, size: int) -> tuple[float, ...]:
    """Seconds: ours, and MLX's with the form that the format would else take."""
    form = form_of(FORMATS[name], half=True)
    bits, width = int(form.code_bits), size * (2 if form.spread else 1)
    x = mx.random.normal((1, width)).astype(mx.float16)
    codes = mx.random.randint(0, 1 << 30, (_STACK, size, width * bits // 32)).astype(mx.uint32)
    scales = mx.random.normal((_STACK, size, width // GROUP)).astype(mx.float16)
    blocks = mx.array(random_blocks(name, _STACK * size, size).view(np.uint8).reshape(_STACK, size, -1))
    short, one, two = x[:, :size], mx.zeros(1, mx.uint32), mx.zeros(2, mx.uint32)
    experts = [mx.array([i, (i + 3) % _STACK], mx.uint32) for i in range(_STACK)]
    packed = calls.Packed(codes, scales, scales, bits)
    mx.eval(codes, scales, blocks, short, one, two, experts)

    def ours(i: int) -> list[mx.array]:
        return [kernels.product(blocks, short, one, experts[i][:1]), kernels.product(blocks, short, two, experts[i])]

    def mlxs(i: int) -> list[mx.array]:
        return [calls.multiply(x, packed[i]), calls.gather(x[None], packed, experts[i], two)]

    return _medians(ours, mlxs)


def _medians(*rivals: Callable[[int], list[mx.array]]) -> tuple[float, ...]:
    """Seconds of each. They take turns: a GPU that was idle is slow at first."""
    for once in rivals:
        mx.eval(once(0))  # compiles
    runs: list[list[float]] = [[] for _ in rivals]
    for _ in range(_ROUNDS):
        for once, taken in zip(rivals, runs, strict=True):
            start = time.perf_counter()
            mx.eval([once(i % _STACK) for i in range(_TIMES)])
            taken.append((time.perf_counter() - start) / _TIMES)
    return tuple(float(np.median(taken)) for taken in runs)
