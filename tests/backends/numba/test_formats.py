"""Every format's three kernels against the definitions of the format and of the activations.

LOCALMIX_ISA decides what is tested: test_isa.py runs this file again for each other instruction set.
"""

import numpy as np
import pytest
from kernel_calls import expected, guarded, product, random_weights, unpacked

from quant import FORMATS, Format
from quant.format import Floats

# Widths of an odd and of an even number of blocks; float formats have any width.
WIDTHS = {1: [8, 172, 256], 32: [32, 96, 352, 256, 4096], 256: [256, 768, 4096]}
ALL = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def activations(tokens: int, width: int) -> Floats:
    """Normal numbers of quite different sizes, and a block of nothing."""
    rng = np.random.default_rng(tokens)
    x = rng.standard_normal((tokens, width)).astype(np.float32) * rng.uniform(0.01, 10, (tokens, 1)).astype(np.float32)
    x[:, : min(32, width // 2)] = 0
    return x


def check(name: str, shape: str, rows: int, width: int, tokens: int) -> None:
    weights, x = guarded(random_weights(FORMATS[name], rows, width)), activations(tokens, width)
    y, size = expected(name, weights, x, shape.endswith("16"))
    error = np.abs(product(name, shape, weights, x) - y)
    assert (error <= 4e-6 * size + 1e-12).all(), (rows, width, tokens, (error / (size + 1e-12)).max())


@ALL
def test_rows(format: Format) -> None:
    for width in WIDTHS[format.block]:
        weights = guarded(random_weights(format, 3, width))
        wanted = format.dequantize(weights).reshape(3, -1)
        assert np.array_equal(unpacked(format.name, weights, width), wanted[::-1])


@ALL
def test_one_token(format: Format) -> None:
    for width in WIDTHS[format.block]:
        for rows in (1, 2, 17):
            check(format.name, "gemv", rows, width, 2)
    if format.block > 1:
        check(format.name, "gemv16", 17, WIDTHS[format.block][1], 2)


@ALL
def test_many_tokens(format: Format) -> None:
    for width in WIDTHS[format.block]:
        check(format.name, "gemm", 49, width, 17)
    for tokens in range(1, 17):
        check(format.name, "gemm", 16, WIDTHS[format.block][1], tokens)
    if format.block > 1:
        check(format.name, "gemm16", 33, WIDTHS[format.block][1], 15)


@ALL
def test_few_tokens_are_what_many_are(format: Format) -> None:
    """To the last bit: what is computed for a token must not depend on how many others there are."""
    width = WIDTHS[format.block][-1 if format.block == 1 else 2]
    weights, x = guarded(random_weights(format, 33, width)), activations(17, width)
    for kind in ("", "16") if format.block > 1 else ("",):
        many = product(format.name, f"gemm{kind}", weights, x)
        for tokens in range(1, 9):
            assert np.array_equal(product(format.name, f"gemm{kind}", weights, x[:tokens]), many[:tokens]), tokens
        if format.block > 1:
            assert np.array_equal(product(format.name, f"gemv{kind}", weights, x), many)


@pytest.mark.parametrize("code", [0, 0x7F, 0x80, 0xFF])
@ALL
def test_largest_sums(format: Format, code: int) -> None:
    """Whole sums have a bounded number of bits; here all codes of a row and all activations of a token are the same."""
    if format.coding is None:
        return
    weights, x = random_weights(format, 16, 256), np.full((9, 256), 127, np.float32)
    for part in format.coding.parts:
        field = weights[part.field]
        field[...] = np.uint8(code).astype(field.dtype)
    x[::2] *= -1
    y, size = expected(format.name, weights, x, wide=False)
    for shape in ("gemv", "gemm"):
        error = np.abs(product(format.name, shape, weights, x) - y)
        assert (error <= 4e-6 * size + 1e-11).all(), shape


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_floats_of_any_number_of_rows_and_columns(name: str) -> None:
    for rows, width in ((1, 8), (5, 16), (17, 1030), (15, 2100)):
        for tokens in (1, 3, 9):
            check(name, "gemm", rows, width, tokens)
