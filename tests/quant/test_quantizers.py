"""Quantizers: the shared definitions to the bit, the searches against their own promises."""

from collections.abc import Iterator

import gguf
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType

from quant import FORMATS, Format, f16
from quant.fit import affine, symmetric
from quant.fit.half import to_half

WRITABLE = {name: row for name, row in FORMATS.items() if row.quantize}
DIRECT = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
SEARCHED = [name for name in WRITABLE if name not in DIRECT]

# llama.cpp's mean square error over that of the weights, on NORMAL below (tests/peers/quantizers.py measures it).
LLAMA_ERROR = {
    "q6_k": 3.149e-4, "q5_k": 1.305e-3, "q4_k": 5.095e-3, "iq4_nl": 5.789e-3,
    "iq4_xs": 5.878e-3, "q3_k": 2.272e-2, "q2_k": 8.800e-2,
}  # fmt: skip


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((16, 4096), np.float32)


@pytest.fixture(scope="module")
def importance() -> np.ndarray:
    return np.random.default_rng(1).gamma(0.5, 1.0, 4096).astype(np.float32)


UNDERFLOWING = 0  # the row of that kind


def awkward_rows() -> Iterator[np.ndarray]:
    """Rows of 256 that a search could stumble on."""
    rng = np.random.default_rng(2)
    yield rng.standard_normal(256) * 1e-6  # most scales are below what half precision can hold
    yield np.zeros(256)
    yield np.full(256, 0.25)
    yield np.full(256, -0.25)
    yield np.where(np.arange(256) % 32 == 5, 3.0, 0.0)  # one value a block
    yield np.where(np.arange(256) % 2, 1.0, -1.0)  # both signs at the same magnitude
    yield np.abs(rng.standard_normal(256))
    yield -np.abs(rng.standard_normal(256))
    yield rng.standard_normal(256) * 1e4
    yield np.where(np.arange(256) < 128, 0.0, rng.standard_normal(256))


def relative_error(row: Format, rows: np.ndarray, importance: np.ndarray | None) -> float:
    assert row.quantize
    difference = row.dequantize(row.quantize(rows, importance)) - rows
    weight = np.ones_like(rows) if importance is None else importance
    return float((weight * difference**2).mean(dtype=np.float64) / (weight * rows**2).mean(dtype=np.float64))


@pytest.mark.parametrize("name", DIRECT)
def test_shared_definitions_equal_gguf_bit_for_bit(name: str, normal: np.ndarray) -> None:
    awkward = np.array(list(awkward_rows()), np.float32)
    quantize = FORMATS[name].quantize
    assert quantize
    for rows in (normal, np.round(normal, 1), awkward):
        ours = quantize(rows, None)
        theirs = gguf.quants.quantize(rows, GGMLQuantizationType[name.upper()])
        assert np.array_equal(ours.view(np.uint8), theirs.view(np.uint8))


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_every_kind_of_number_is_rounded_to_16_bits(name: str) -> None:
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.99, -65520, 2**-14, 2**-24, 2**-25, 2**-25 * 1.001, 1e38]
    bits = np.random.default_rng(6).integers(0, 2**32, 20_000, np.uint32)
    rows = np.concatenate([np.array(edges, np.float32), bits.view(np.float32)])[None]
    quantize = FORMATS[name].quantize
    assert quantize
    with np.errstate(over="ignore"):
        theirs = gguf.quants.quantize(rows, GGMLQuantizationType[name.upper()])
    ours = quantize(rows, None).view(np.uint16)
    numbers = ~np.isnan(rows)
    assert np.array_equal(ours[numbers], theirs.view(np.uint16)[numbers])
    assert np.isnan(FORMATS[name].dequantize(quantize(rows, None))[~numbers]).all()


def test_every_half_is_widened_as_numpy_does() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(2, -1)[:, ::-1]
    assert np.array_equal(f16.widen(halves), f16.dequantize(halves), equal_nan=True)
    signs = np.signbit(f16.widen(halves)), np.signbit(halves)
    assert np.array_equal(*signs)


@pytest.mark.parametrize("name", LLAMA_ERROR)
def test_search_beats_llama_cpp(name: str, normal: np.ndarray) -> None:
    assert relative_error(FORMATS[name], normal, None) < LLAMA_ERROR[name]


@pytest.mark.parametrize("name", [name for name in WRITABLE if name not in ("f32", "f16", "bf16", "q8_0")])
def test_importance_lowers_the_error_that_it_weights(name: str, normal: np.ndarray, importance: np.ndarray) -> None:
    row = FORMATS[name]
    assert row.quantize
    without = row.dequantize(row.quantize(normal, None)) - normal
    with_it = row.dequantize(row.quantize(normal, importance)) - normal
    assert (importance * with_it**2).sum() < 0.95 * (importance * without**2).sum()


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("weighted", [False, True])
def test_awkward_rows_come_back(name: str, weighted: bool, importance: np.ndarray) -> None:
    row = WRITABLE[name]
    assert row.quantize
    rows = np.array(list(awkward_rows()), np.float32)
    weight = importance[:256] if weighted else np.ones(256, np.float32)
    back = row.dequantize(row.quantize(rows, weight if weighted else None))
    error = np.sqrt((weight * (back - rows) ** 2).sum(axis=1) / np.maximum((weight * rows**2).sum(axis=1), 1e-30))
    bound = np.full(len(rows), {"f16": 1e-3, "bf16": 4e-3}.get(name, 3 / 2**row.bits))
    bound[UNDERFLOWING] = 1.0 if name != "bf16" else 4e-3  # at worst, all zero
    assert np.all(error <= bound)


@pytest.mark.parametrize("name", SEARCHED)
def test_rows_and_chunks_do_not_influence_each_other(name: str, normal: np.ndarray) -> None:
    quantize = FORMATS[name].quantize
    assert quantize
    whole = quantize(normal, None)
    parts = [quantize(part, None) for part in (normal[:1], normal[1:6], normal[6:])]
    assert whole.shape == (16, 4096 // FORMATS[name].block)
    assert whole.tobytes() == b"".join(part.tobytes() for part in parts)


@pytest.mark.parametrize("name", SEARCHED)
def test_unseen_inputs_keep_their_weights(name: str, normal: np.ndarray) -> None:
    importance = np.zeros(4096, np.float32)
    importance[:1024] = 1
    row = FORMATS[name]
    assert row.quantize
    back = row.dequantize(row.quantize(normal, importance))
    unseen = (slice(None), slice(1024, None))
    assert ((back - normal)[unseen] ** 2).mean() < 2 * LLAMA_ERROR[name]


def test_symmetric_search_finds_what_is_exactly_there() -> None:
    rng = np.random.default_rng(3)
    grid = symmetric.Grid(groups=16, size=16, bottom=32, levels=128)
    scales = rng.integers(20, 128, (40, 16, 1)) * rng.choice([-1, 1], (40, 16, 1))
    codes = rng.integers(-32, 32, (40, 16, 16))
    codes[:, :, 0] = -32
    scales[:, 0] = -128
    rows = (scales * codes * 2.0**-12).astype(np.float32).reshape(40, 256)
    found = symmetric.fit(rows, None, grid)
    weights = found.scales[:, :, None].astype(int) * (found.codes.reshape(40, 16, 16).astype(int) - 32)
    assert np.array_equal(found.d.astype(np.float32)[:, None] * weights.reshape(40, 256), rows)


def test_affine_search_finds_what_is_exactly_there() -> None:
    rng = np.random.default_rng(4)
    grid = affine.Grid(groups=8, size=32, top=15, levels=63)
    scales, minima = rng.integers(16, 64, (2, 40, 8, 1))
    codes = rng.integers(0, 16, (40, 8, 32))
    codes[:, :, 0], codes[:, :, 1] = 0, 15
    scales[:, 0], minima[:, 0] = 63, 63
    rows = (scales * codes * 2.0**-10 - minima * 2.0**-8).astype(np.float32).reshape(40, 256)
    found = affine.fit(rows, None, grid)
    scale = found.d[:, None].astype(np.float32) * found.scales
    minimum = found.dmin[:, None].astype(np.float32) * found.minima
    back = scale[:, :, None] * found.codes.reshape(40, 8, 32) - minimum[:, :, None]
    assert np.array_equal(back.reshape(40, 256), rows)


def test_half_precision_inside_kernels_is_numpys() -> None:
    rng = np.random.default_rng(5)
    values = (rng.standard_normal(2000) * 10.0 ** rng.uniform(-9, 4.5, 2000)).astype(np.float32)
    expected = np.clip(values, -65504, 65504).astype(np.float16).astype(np.float32)
    assert [to_half(value) for value in values] == expected.tolist()
