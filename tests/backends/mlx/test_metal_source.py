"""The table of lanes, read by the NumPy model and by the generated Metal source, against the formats themselves."""

import pathlib

import metal_emulator
import numpy as np
import pytest
from numpy.typing import NDArray

from localmix.backends.mlx.metal import lanes, model
from quant import FORMATS
from quant.format import Floats

ALL = pytest.mark.parametrize("name", lanes.TABLE)
ROWS, BLOCKS = 21, 3


def random_blocks(name: str, rows: int = ROWS) -> NDArray[np.uint8]:
    """Any bytes under sane scales: (rows, BLOCKS, block bytes)."""
    format, rng = FORMATS[name], np.random.default_rng(0)
    blocks = rng.integers(0, 256, (rows, BLOCKS * format.dtype.itemsize), np.uint8).view(format.dtype)
    for field in {"d", "dmin"} & set(format.dtype.names or ()):
        blocks[field] = rng.uniform(-0.1, 0.1, blocks.shape)
    return blocks.view(np.uint8).reshape(rows, BLOCKS, -1)


def expected(name: str, blocks: NDArray[np.uint8]) -> Floats:
    format = FORMATS[name]
    return format.dequantize(blocks.reshape(len(blocks), -1).view(format.dtype))


def close(a: Floats, b: Floats, size: Floats | float) -> bool:
    """Equal up to the order of additions; `size` is the sum of absolute values."""
    return bool((np.abs(a - b) <= 2e-6 * size).all())


@ALL
def test_every_weight_is_read_once(name: str) -> None:
    one = lanes.TABLE[name]
    weights = one.table()[..., lanes.COLUMNS.index("weight")].astype(int)
    read = np.sort((weights[..., None] + np.arange(one.run)).ravel())
    assert np.array_equal(read, np.arange(lanes.WEIGHTS))


@ALL
def test_model(name: str) -> None:
    blocks, x = random_blocks(name), np.random.default_rng(1).standard_normal(BLOCKS * 256).astype(np.float32)
    weights = expected(name, blocks)
    assert np.array_equal(model.expand(lanes.TABLE[name], blocks), weights)
    assert close(model.product(lanes.TABLE[name], blocks, x), weights @ x, np.abs(weights) @ np.abs(x))


@pytest.mark.skipif(metal_emulator.COMPILER is None, reason="there is no C++ compiler to emulate Metal with")
@ALL
def test_generated_source(name: str, tmp_path: pathlib.Path) -> None:
    kernels = metal_emulator.Emulated(name, tmp_path)
    blocks = random_blocks(name, 3 * ROWS)
    assert close(
        kernels.expand(blocks.reshape(3 * ROWS * BLOCKS, -1)).reshape(3 * ROWS, -1), expected(name, blocks), 1.0
    )
    stack = blocks.reshape(3, ROWS, -1)
    x = np.random.default_rng(1).standard_normal((2, BLOCKS * 256)).astype(np.float32)
    rows, matrices = np.array([1, 0, 1, 1], np.uint32), np.array([2, 0, 1, 0], np.uint32)
    weights = expected(name, blocks).reshape(3, ROWS, -1)
    y = kernels.product(stack, x, rows, matrices)
    for n in range(4):
        assert close(y[n], weights[matrices[n]] @ x[rows[n]], np.abs(weights[matrices[n]]) @ np.abs(x[rows[n]]))
