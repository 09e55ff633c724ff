"""Every format against the `gguf` package: layout, number and values, bit for bit."""

import subprocess
import sys

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from quant import BY_ID, FORMATS, Format
from quant.fit import packing
from quant.layout import pack, unpack

SCALES = {"d", "dmin", "m"}  # the half-precision fields
ODD_SCALES = np.array([0, -0.0, 6e-8, -6e-8, 6.1e-5, 1, -1, 65504, -65504, np.inf, -np.inf], dtype=np.float16)


def random_blocks(row: Format, count: int, seed: int = 0) -> np.ndarray:
    """Blocks of random bytes; the half-precision scales are any value but NaN, the odd ones among them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, row.dtype.itemsize), dtype=np.uint8).view(row.dtype)[:, 0]
    for name in SCALES & set(row.dtype.names or ()):
        scale = rng.integers(0, 1 << 16, count, dtype=np.uint16).view(np.float16)
        blocks[name] = np.where(np.isnan(scale), np.float16(0.5), scale)
        blocks[name][: len(ODD_SCALES)] = rng.permutation(ODD_SCALES)
    return blocks


@pytest.mark.parametrize("row", FORMATS.values(), ids=FORMATS)
def test_layout_has_the_size_that_ggml_gives(row: Format) -> None:
    kind = GGMLQuantizationType[row.name.upper()]
    assert (row.ggml, row.block, row.dtype.itemsize) == (kind.value, *GGML_QUANT_SIZES[kind])
    assert BY_ID[row.ggml] is row
    assert row.row_bytes(512) == 512 * row.bits / 8


@pytest.mark.parametrize("row", FORMATS.values(), ids=FORMATS)
def test_dequantize_equals_gguf_bit_for_bit(row: Format) -> None:
    blocks = random_blocks(row, 3000)
    with np.errstate(all="ignore"):
        ours = row.dequantize(blocks)
        theirs = gguf.quants.dequantize(blocks.view(np.uint8), GGMLQuantizationType[row.name.upper()])
    assert ours.dtype == np.float32
    finite = ~np.isnan(theirs)
    assert np.array_equal(np.isnan(ours), ~finite)
    assert np.array_equal(ours[finite].view(np.uint32), theirs[finite].view(np.uint32))


@pytest.mark.parametrize("row", FORMATS.values(), ids=FORMATS)
def test_dequantize_keeps_leading_axes_and_reads_strided_views(row: Format) -> None:
    with np.errstate(all="ignore"):
        blocks = random_blocks(row, 2 * 3 * 8).reshape(2, 3, 8)
        whole = row.dequantize(blocks)
        part = row.dequantize(blocks[:, 1:, ::2])
        assert row.dequantize(blocks[:0]).shape == (0, 3, 8 * row.block)
    assert whole.shape == (2, 3, 8 * row.block)
    kept = whole.reshape(2, 3, 8, row.block)[:, 1:, ::2].reshape(part.shape)
    assert np.array_equal(part, kept, equal_nan=True)


@pytest.mark.parametrize(("bits", "run"), [(4, 16), (4, 1), (2, 32), (2, 4), (1, 1), (1, 32)])
def test_pack_is_the_inverse_of_unpack(bits: int, run: int) -> None:
    packed = np.random.default_rng(1).integers(0, 256, (5, 64), dtype=np.uint8)
    fields = unpack(packed, bits, run)
    assert np.array_equal(pack(fields, bits, run), packed)
    assert np.array_equal(packing.pack(fields, bits, run), packed)


def test_importing_and_dequantizing_leaves_numba_out() -> None:
    code = (
        "import sys, numpy as np, quant\n"
        "for row in quant.FORMATS.values(): row.dequantize(np.zeros(4, row.dtype))\n"
        "assert not {'numba', 'gguf', 'localmix'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
