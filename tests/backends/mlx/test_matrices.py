"""Every format in MLX's forms: how large, how exact, and the products with it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from localmix.engine.weights import Weight
from localmix.errors import UnsupportedError
from quant import FORMATS, Format
from quant.format import Floats

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from modelled import KERNELS  # noqa: E402

from localmix.backends.mlx import forms, straight  # noqa: E402
from localmix.backends.mlx.matrix import Affine, Arithmetic  # noqa: E402
from localmix.backends.mlx.repack import repack  # noqa: E402

ALL = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
MODES = pytest.mark.parametrize("half", [True, False], ids=["16-bit", "32-bit"])
STRAIGHT = pytest.mark.parametrize("name", KERNELS)
OUT, WIDTH, EXPERTS = 24, 512, 3


def gaussian(format: Format, rows: int, seed: int = 0) -> NDArray:
    """Blocks of normal weights; of a format that cannot be written, of random codes."""
    rng = np.random.default_rng(seed)
    if format.quantize is not None:
        return format.quantize((rng.standard_normal((rows, WIDTH)) * 0.02).astype(np.float32), None)
    blocks = rng.integers(0, 256, (rows, format.row_bytes(WIDTH)), np.uint8).view(format.dtype)
    blocks["e"] = rng.integers(118, 122, blocks.shape)
    return blocks


def stack(format: Format) -> tuple[Weight, ...]:
    return tuple(Weight(f"w{e}", format, (OUT, WIDTH), gaussian(format, OUT, e)) for e in range(EXPERTS))


def floats(array: "mx.array") -> Floats:
    return np.array(array.astype(mx.float32))


def check(y: Floats, expected: Floats, form: forms.Form, half: bool) -> None:
    bound = 2 * form.error + 1e-3 if half else 2e-6
    assert np.abs(y - expected).max() <= bound * np.abs(expected).max()


@ALL
@MODES
def test_error_and_size_are_as_stated(format: Format, half: bool) -> None:
    weight = Weight("w", format, (256, WIDTH), gaussian(format, 256))
    matrix, form = repack(weight, Arithmetic(half, cpu=True)), forms.form_of(format, half)
    expected = weight.rows(slice(None))
    off = floats(matrix.rows(mx.arange(256))) - expected
    error = np.sqrt(np.square(off, dtype=np.float64).mean() / np.square(expected, dtype=np.float64).mean())
    assert matrix.nbytes * 8 == form.bits * 256 * WIDTH
    assert form.error / 2 <= error <= form.error or (form.error == 0 and error < 1e-7)


def test_32_bit_mode_is_exact() -> None:
    assert all(forms.form_of(format, half=False).error == 0 for format in FORMATS.values())


@ALL
@MODES
@pytest.mark.parametrize("tokens", [1, 20])
def test_products(format: Format, half: bool, tokens: int) -> None:
    weights = stack(format)
    x = np.random.default_rng(9).standard_normal((tokens, WIDTH)).astype(np.float32)
    matrix = repack(weights[1], Arithmetic(half, cpu=True))
    check(floats(matrix.multiply(mx.array(x))), x @ weights[1].rows(slice(None)).T, forms.form_of(format, half), half)


def check_gathers(weights: tuple[Weight, ...], arithmetic: Arithmetic, pairs: int) -> None:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((pairs, WIDTH)).astype(np.float32)
    rows, experts = rng.integers(0, pairs, pairs), np.sort(rng.integers(0, EXPERTS, pairs))
    matrix, unpacked = repack(weights, arithmetic), [w.rows(slice(None)) for w in weights]
    form = arithmetic.form(weights[0].format)
    ids = mx.array(experts.astype(np.uint32))
    parts = mx.array(x)[:, None]
    in_order = matrix.gather(parts, ids, None)[:, 0]
    check(floats(in_order), np.stack([unpacked[e] @ x[n] for n, e in enumerate(experts)]), form, arithmetic.half)
    chosen = matrix.gather(parts, ids, mx.array(rows.astype(np.uint32)))[:, 0]
    expected = np.stack([unpacked[e] @ x[r] for r, e in zip(rows, experts, strict=True)])
    check(floats(chosen), expected, form, arithmetic.half)


@ALL
@MODES
def test_gathers(format: Format, half: bool) -> None:
    check_gathers(stack(format), Arithmetic(half, cpu=True), pairs=7)


@MODES
@pytest.mark.parametrize("name", ["q4_0", "q5_1", "q8_0", "mxfp4"])
def test_rows_are_padded_to_what_kernels_want(name: str, half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.WIDTH", 96)
    check_gathers(stack(FORMATS[name]), Arithmetic(half, cpu=True), pairs=7)
    weight = stack(FORMATS[name])[0]
    matrix = repack(weight, Arithmetic(half, cpu=True))
    assert isinstance(matrix, Affine)
    assert (matrix.packed.width, matrix.width) == (128, 96)
    assert np.allclose(floats(matrix.rows(mx.array([3, 0]))), weight.rows(np.array([3, 0])), atol=1e-4)


@MODES
def test_numbers_beyond_16_bits(half: bool) -> None:
    """What no norm bounds does not become infinite, and what has no large numbers stays what it is, to the bit."""
    weight = stack(FORMATS["q8_0"])[0]
    arithmetic = Arithmetic(half, cpu=True)
    matrix, unpacked = repack(weight, arithmetic), weight.rows(slice(None))
    x = np.random.default_rng(9).standard_normal((3, WIDTH)).astype(np.float32)
    x[1] *= 1e6
    small, scale = arithmetic.scaled(mx.array(x))
    y = floats(matrix.multiply(small) * scale)
    for row in range(3):
        check(y[row], unpacked @ x[row], forms.form_of(FORMATS["q8_0"], half), half)
    assert np.array_equal(y[[0, 2]], floats(matrix.multiply(mx.array(x)))[[0, 2]])


@STRAIGHT
@MODES
@pytest.mark.parametrize("few", [1, 100])
def test_straight_from_blocks(name: str, half: bool, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens take one kernel, many the other, in slices."""
    monkeypatch.setattr(straight, "_FEW", few)
    monkeypatch.setattr(straight, "_FEW_PAIRS", few)
    monkeypatch.setattr(straight, "_SLICE", 5 * WIDTH * EXPERTS)
    arithmetic, weights = Arithmetic(half, cpu=True, kernels=KERNELS), stack(FORMATS[name])
    check_gathers(weights, arithmetic, pairs=9)
    matrix, unpacked = repack(weights[0], arithmetic), weights[0].rows(slice(None))
    assert matrix.nbytes == weights[0].nbytes
    assert arithmetic.form(FORMATS[name]).bits == FORMATS[name].bits
    x = np.random.default_rng(9).standard_normal((9, WIDTH)).astype(np.float32)
    check(floats(matrix.multiply(mx.array(x))), x @ unpacked.T, arithmetic.form(FORMATS[name]), half)
    assert np.array_equal(floats(matrix.rows(mx.array([3, 0]))), unpacked[[3, 0]])


class LazyKernels:
    """Unpacks when MLX gets to it, as a GPU does, and wrongly."""

    def expand(self, blocks: "mx.array", dtype: "mx.Dtype") -> "mx.array":
        flat = blocks.reshape(-1, FORMATS["q4_k"].dtype.itemsize)
        weights = mx.broadcast_to(flat[:, :1].astype(dtype), (len(flat), 256)) * 0.5
        return weights.reshape(*blocks.shape[:-1], -1)


def test_few_weights_are_unpacked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of layers in one graph, whose matrices do not wait for each other."""
    monkeypatch.setattr(straight, "_SLICE", 1 << 18)
    pairs, experts, width, out = 64, 4, 512, 2048
    row, shape = FORMATS["q4_k"].row_bytes(width), (experts, out)
    layers = [straight.Blocks(Arithmetic(True, True), LazyKernels(), mx.zeros((*shape, row), mx.uint8))] * 6
    x, ids = mx.ones((pairs, 1, width)), mx.sort(mx.arange(pairs, dtype=mx.uint32) % experts)
    mx.eval(x, ids, layers[0].blocks)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    for layer in layers:
        x = (layer.gather(x, ids, None) * layer.gather(x, ids, None))[..., :width]
    mx.eval(x)
    assert mx.get_peak_memory() - before < experts * out * width * 4  # of one matrix, and there are twelve


def test_large_numbers_are_refused() -> None:
    weight = Weight("big", FORMATS["f32"], (2, 64), np.full((2, 64), 1e5, np.float32))
    with pytest.raises(UnsupportedError, match="big holds numbers beyond 65504"):
        repack(weight, Arithmetic(half=True, cpu=True))
    assert repack(weight, Arithmetic(half=False, cpu=True)).rows(mx.array([0])).max().item() == np.float32(1e5)


def test_experts_of_different_formats_are_refused() -> None:
    mixed = stack(FORMATS["q4_0"])[0], stack(FORMATS["q8_0"])[1]
    with pytest.raises(UnsupportedError, match="w1 is q8_0, w0 q4_0"):
        repack(mixed, Arithmetic(half=True, cpu=True))
