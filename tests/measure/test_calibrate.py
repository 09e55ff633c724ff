"""Calibration: sums over every matrix's inputs, expert by expert."""

from pathlib import Path

import numpy as np
import pytest
import small_models
from numpy.typing import NDArray

import localmix
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from localmix.measure.calibrate import calibrate
from localmix.measure.windows import Window

RANDOM = np.random.RandomState(4)
WINDOWS = [Window(RANDOM.randint(3, 512, size).tolist(), size // 2) for size in (40, 64, 1)]


def test_counts_are_what_the_router_chose(upcycled_path: Path) -> None:
    """And every token passes through the matrices of attention; the output sees those that are scored."""
    model = localmix.load(upcycled_path, "numba")
    found = calibrate(model, WINDOWS, "text")
    expected = np.zeros((len(model.network.layers), 8))
    for window in WINDOWS:
        cache = model.engine.cache(64)
        seen: list[NDArray[np.int32]] = []
        model.engine.forward(Batch.of([(cache.new(), 0, window.ids)]), cache, seen.append)
        for layer, chosen in enumerate(seen[0]):
            expected[layer] += np.bincount(chosen.reshape(-1), minlength=8)
    for layer in range(len(model.network.layers)):
        for role in ("gate", "up", "down"):
            counts = found.entries[f"blk.{layer}.ffn_{role}_exps.weight"].counts
            assert np.abs(counts - expected[layer]).sum() <= 2  # a tie may fall either way
        for role in ("q", "k", "v", "output"):
            assert found.entries[f"blk.{layer}.attn_{role}.weight"].counts.tolist() == [105]
    assert (found.datasets, found.chunks, found.chunk_size) == (["text"], 3, 64)
    assert found.rare()


def test_backends_agree(upcycled_path: Path, folder: Path) -> None:
    """Also where each expert is a tensor of its own: the entry is that of the merged one."""
    merged = calibrate(localmix.load(upcycled_path, "reference"), WINDOWS, "text")
    apart_path = small_models.upcycled_stories(folder / "apart-calibrate.gguf", merged=False)
    for path, backend in ((upcycled_path, "numba"), (apart_path, "numba"), (apart_path, "reference")):
        found = calibrate(localmix.load(path, backend), WINDOWS, "text")
        assert set(found.entries) == set(merged.entries)
        for name, entry in merged.entries.items():
            assert np.abs(found.entries[name].counts - entry.counts).sum() <= 2, name
            assert np.allclose(found.entries[name].sums.sum(axis=0), entry.sums.sum(axis=0), rtol=1e-3), name


def test_the_sums_of_the_first_layer() -> None:
    """What attention of the first layer sees is the normed embedding, whatever comes before in the text."""
    model = localmix.load(small_models.STORIES, "numba")
    found = calibrate(model, WINDOWS, "text").entries["blk.0.attn_k.weight"]
    ids = np.concatenate([window.ids for window in WINDOWS])
    x = model.network.token_embd.rows(ids)
    norm = model.network.layers[0].attention.norm
    normed = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + norm.eps) * norm.weight
    assert np.allclose(found.sums[0], np.square(normed).sum(axis=0), rtol=1e-4)


def test_mlx_says_that_it_cannot() -> None:
    pytest.importorskip("mlx.core")
    with pytest.raises(LocalmixError, match="use --backend numba"):
        calibrate(localmix.load(small_models.STORIES, "mlx"), WINDOWS, "text")
