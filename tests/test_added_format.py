"""A weight format that is only declared: everyone who asks about formats answers, or refuses it by name."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import localmix
import quant
from localmix import gguf
from localmix.cli.app import program
from localmix.convert.loss import Sensitivity
from localmix.errors import UnsupportedError
from localmix.measure import small, synthetic
from localmix.store import variants
from quant.coding import Bits, Coding
from quant.format import Floats, Format
from quant.layout import merge
from quant.recipe import that_divides

POWERS = 3 ** np.arange(5)


def digits(blocks: NDArray) -> Floats:
    """Five digits of base 3 in a byte, which no coding can say: w = d * (digit - 1)."""
    each = blocks["digits"][..., None] // POWERS % 3 - 1.0  # (..., n, 52, 5)
    flat = each.reshape(*blocks.shape, 260)[..., :256]
    return merge(blocks["d"].astype(np.float32)[..., None] * flat.astype(np.float32))


def halved(blocks: NDArray) -> tuple[NDArray, None]:
    return blocks["groups"], None


# The fields lie as in no other format, and have other names.
FIFTHS = Format(
    "q5_x", 201, 32, np.dtype([("top", "u1", 4), ("low", "u1", 16), ("size", "<f2"), ("least", "<f2")]),
    Coding(32, (Bits("low", bits=4, run=16), Bits("top", bits=1, run=1, at=4)), scale="size", plus="least"),
    error=1.5e-3, fallback="q5_1",
)  # fmt: skip
LEVELS = tuple(range(-32, 32, 4))
NAMED = Format(
    "iq4_x", 202, 32, np.dtype([("d", "<f2"), ("qs", "u1", 16)]),
    Coding(32, (Bits("qs", bits=4, run=16),), zero=32, levels=LEVELS), error=8e-3,
)  # fmt: skip
GROUPED = Format(
    "q8_x", 203, 256, np.dtype([("d", "<f2"), ("groups", "u1", 16), ("qs", "i1", 256)]),
    Coding(16, (Bits("qs", bits=8, run=256),), zero=128, signed=True, of_groups=halved), error=3e-5, fallback="q8_0",
)  # fmt: skip
TERNARY = Format("tq1_x", 204, 256, np.dtype([("digits", "u1", 52), ("d", "<f2")]), digits, error=0.2)
ADDED = {format.name: format for format in (FIFTHS, NAMED, GROUPED, TERNARY)}
WITH_KERNELS = ("q5_x", "iq4_x")


@pytest.fixture(params=ADDED)
def added(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Format:
    """A format in the table, for as long as the test."""
    format = ADDED[request.param]
    monkeypatch.setitem(quant.FORMATS, format.name, format)
    monkeypatch.setitem(quant.BY_ID, format.ggml, format)
    return format


@pytest.fixture
def path(added: Format, tmp_path: Path) -> Path:
    """A small network of it."""
    path = tmp_path / f"small.{added.name.upper()}.gguf"
    synthetic.write_shape(path, added.name, small.SHAPES["llama"][0], None, added)
    return path


def test_random_weights_have_the_size_of_a_models(path: Path, added: Format) -> None:
    with gguf.open(path) as file:
        tensor = file.tensors["output.weight"]
        weights = tensor.format.dequantize(tensor.data)
        assert tensor.format is added
    assert 0.01 < weights.std() < 0.04
    assert abs(weights.mean()) < 0.003


def test_backends_agree_or_refuse_it_by_name(path: Path, added: Format, backend: str) -> None:
    ids = np.random.default_rng(0).integers(0, 300, 9).tolist()
    if backend == "numba" and added.name not in WITH_KERNELS:
        with pytest.raises(UnsupportedError, match=f"no kernels for {added.name.upper()}: use --backend reference"):
            localmix.load(path, backend)
        return
    expected = localmix.load(path, "reference").logits(ids)
    found = localmix.load(path, backend).logits(ids)
    assert expected.std() > 0.01
    assert np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()


def test_info_and_estimates(path: Path, added: Format) -> None:
    result = CliRunner().invoke(program(), ["info", str(path)])
    assert result.exit_code == 0
    assert added.name in result.stdout
    assert Sensitivity(2, 1000).loss("output.weight", added) == pytest.approx(0.78 * added.error)
    assert that_divides(added, added.block).format is added
    assert that_divides(added, 48).format.name == "f16"
    assert variants.label(path.name) == added.name.upper()
    assert added.largest == 65504


def test_mlx_forms_say_what_they_hold(added: Format) -> None:
    from localmix.backends.mlx.forms import form_of

    exact, rounded = form_of(added, half=False), form_of(added, half=True)
    assert exact.error == 0
    assert (rounded.error > 0) == (added.name not in WITH_KERNELS)
    assert exact.kind == ("affine" if added.coding else "dense")
