"""Gate and up of an expert in formats that want other activations, as floats and as bytes: same answers everywhere."""

from pathlib import Path

import numpy as np
import pytest
from random_checkpoints import SPECS, ids, to_gguf

import localmix
from localmix import convert
from quant.recipe import RECIPES, Row


@pytest.mark.parametrize(("gate", "up"), [("f16", "q8_0"), ("q8_0", "f16"), ("q8_0", "q5_0")])
def test_gate_and_up_of_two_kinds(tmp_path: Path, backend: str, gate: str, up: str) -> None:
    source = convert.open_checkpoint(to_gguf(SPECS[0], tmp_path / "source.gguf"))
    rows = [Row("ffn_gate_exps", gate), Row("ffn_up_exps", up)]
    path = tmp_path / "mixed.gguf"
    convert.write(convert.make_plan(source, RECIPES["F32"], rows), path, threads=1)
    expected = localmix.load(path, "reference").logits(ids(SPECS[0]))
    found = localmix.load(path, backend).logits(ids(SPECS[0]))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
