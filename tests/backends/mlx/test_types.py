"""Whatever the backend computes, no operation of MLX gets operands of different types: GPU kernels read one type."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from localmix.engine.batch import Batch
from localmix.engine.weights import Weight
from localmix.network.blocks import Attention, Experts, Linear, Norm, Place
from quant import FORMATS, Format

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.cache import STORAGES, Cache  # noqa: E402
from localmix.backends.mlx.metal import trial  # noqa: E402

GUARDED = [
    *((mx, name) for name in ("dequantize", "quantized_matmul", "gather_qmm", "gather_mm", "quantize")),
    *((mx.fast, name) for name in ("rms_norm", "scaled_dot_product_attention")),
]
SIZE = 256


@pytest.fixture(autouse=True)
def one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX that accepts only what a GPU computes right."""

    def strict(name: str, do: Any) -> Any:
        def call(*operands: Any, **options: Any) -> Any:
            arrays = [x for x in (*operands, *options.values()) if isinstance(x, mx.array)]
            types = {x.dtype for x in arrays if mx.issubdtype(x.dtype, mx.floating)}
            assert len(types) <= 1, f"{name} of {types}"
            return do(*operands, **options)

        return call

    for module, name in GUARDED:
        monkeypatch.setattr(module, name, strict(name, getattr(module, name)))


def matrix(format: Format) -> Weight:
    return Weight(format.name, format, (SIZE, SIZE), trial.random_blocks(format.name, SIZE, SIZE))


def numbers(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("half", [True, False], ids=["16-bit", "32-bit"])
@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_weights(format: Format, half: bool) -> None:
    backend, weight = MlxBackend(half), matrix(format)
    backend.embed(weight, np.array([1, 0]))
    experts = Experts(*[(weight, weight)] * 3)
    norm, dense = Norm(numbers(SIZE), 1e-5), Experts((weight,), (weight,), (weight,))
    for tokens in (1, 70):
        x = backend.norm(mx.array(numbers(tokens, SIZE)), norm)
        (y,) = backend.linear(x, Linear(weight))
        backend.experts(y, mx.zeros((tokens, 1), mx.int32), mx.ones((tokens, 1)), experts)
        backend.every(backend.norm(y, norm), dense, None)


@pytest.mark.parametrize("half", [True, False], ids=["16-bit", "32-bit"])
@pytest.mark.parametrize("kv", STORAGES)
def test_attention(kv: str, half: bool) -> None:
    backend, cache = MlxBackend(half), Cache(1, 2, 32, 40, kv)
    batch = Batch.of([(cache.new(), 0, [0] * 9)])
    cache.reserve(batch)
    q, k, v = (mx.array(numbers(9, heads, 32)).astype(backend.arithmetic.type) for heads in (4, 2, 2))
    nothing: Any = None  # weights take no part
    block = Attention(nothing, nothing, nothing, nothing, nothing, 4, 2, 32, None)
    backend.attend(q, k, v, block, Place(batch, cache, 0))
