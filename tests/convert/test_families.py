"""Checkpoints of every family, converted, give the logits that transformers gives for them, on every backend."""

from pathlib import Path

import family_checkpoints
import numpy as np
import pytest
from family_checkpoints import IDS, KEPT, KINDS
from random_networks import distance
from small_models import DATA

import localmix
from localmix import convert
from quant.recipe import RECIPES

BOUND = {"reference": 1e-4, "numba": 1e-4, "mlx": 2e-3}
ORACLE = np.load(DATA / "checkpoints.npz")


def converted(folder: Path, recipe: str = "F32") -> Path:
    out = folder.with_suffix(f".{recipe}.gguf")
    if not out.exists():
        convert.write(convert.make_plan(convert.open_checkpoint(folder), RECIPES[recipe]), out, threads=1)
    return out


@pytest.fixture(params=KINDS)
def checkpoint(request: pytest.FixtureRequest, folder: Path) -> Path:
    """The folder of each in turn."""
    one = folder / request.param
    return one if one.exists() else family_checkpoints.write(one, request.param)


def test_logits_are_those_of_transformers(checkpoint: Path, backend: str) -> None:
    model = localmix.load(converted(checkpoint), backend, kv="f32")
    assert distance(model.engine.logits(IDS)[-KEPT:], ORACLE[checkpoint.name]) < BOUND[backend]
