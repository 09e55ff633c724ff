"""Networks of every shape give the logits that transformers gives."""

from pathlib import Path

import numpy as np
import pytest
from random_checkpoints import SPECS, Spec, ids, to_gguf
from small_models import DATA

import localmix


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_logits(folder: Path, backend: str, spec: Spec) -> None:
    expected = np.load(DATA / "transformers.npz")[spec.name]
    model = localmix.load(to_gguf(spec, folder / f"{spec.name}-{backend}.gguf"), backend)
    logits = model.logits(ids(spec), kv="f32")
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()
