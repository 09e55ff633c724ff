"""Every family, from files as llama.cpp writes them: its logits, on every backend, however the tokens come."""

from pathlib import Path

import numpy as np
import pytest
from random_families import CONTEXT, FAMILIES, IDS, KEPT, make
from random_networks import distance
from small_models import DATA

import localmix
from localmix import gguf, network
from localmix.engine.batch import Batch
from localmix.errors import FileFormatError, UnsupportedError

BOUND = {"reference": 1e-4, "numba": 1e-4, "mlx": 2e-3}
ORACLE = np.load(DATA / "families.npz")


@pytest.fixture(scope="module", params=FAMILIES)
def path(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A file of each family in turn."""
    one = folder / f"{request.param}.gguf"
    return one if one.exists() else make(one, request.param)


def test_logits_are_those_of_llama_cpp(path: Path, backend: str) -> None:
    found = localmix.load(path, backend, kv="f32").engine.logits(IDS)
    assert distance(found[-KEPT:], ORACLE[path.stem]) < BOUND[backend]


def test_one_by_one_in_chunks_and_together_are_one_shot(path: Path, backend: str) -> None:
    engine = localmix.load(path, backend, kv="f32").engine
    expected, cache = engine.logits(IDS), engine.cache(CONTEXT)
    a, b, c = (cache.new() for _ in range(3))
    rows = [engine.forward(Batch.of([(a, i, [id])]), cache)[0] for i, id in enumerate(IDS)]
    assert distance(np.array(rows), expected) < BOUND[backend]
    parts = [(0, 1), (1, 20), (20, 47), (47, 48)]
    rows = [engine.forward(Batch.of([(b, at, IDS[at:end])], every=True), cache) for at, end in parts]
    assert distance(np.concatenate(rows), expected) < BOUND[backend]
    engine.forward(Batch.of([(c, 0, IDS[:30])]), cache)
    d = cache.new()
    both = engine.forward(Batch.of([(c, 30, IDS[30:31]), (d, 0, IDS[:40])]), cache)
    assert distance(both, expected[[30, 39]]) < BOUND[backend]


def test_a_key_that_nobody_takes_is_refused(path: Path, folder: Path) -> None:
    file = gguf.open(path)
    prefix = file.metadata["general.architecture"]
    for key in ("attention.temperature_length", "final_logit_softcapping", "expert_group_count"):
        file.metadata[f"{prefix}.{key}"] = 7
        with pytest.raises(UnsupportedError, match=rf"{key} = 7 changes the arithmetic"):
            network.load(file)
        del file.metadata[f"{prefix}.{key}"]


def test_a_missing_tensor_is_named(path: Path) -> None:
    file = gguf.open(path)
    del file.tensors["blk.1.attn_k.weight"]
    with pytest.raises(FileFormatError, match=r"blk\.1\.attn_k\.weight is missing"):
        network.load(file)
