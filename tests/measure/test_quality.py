"""Formats side by side, against each compared by itself."""

from pathlib import Path

import numpy as np
import pytest
import small_models

import localmix
from localmix import gguf
from localmix.measure import perplexity, quality
from localmix.measure.windows import Window
from localmix.model import Model
from quant import FORMATS

WINDOWS = [Window(np.random.RandomState(5).randint(3, 512, 60).tolist(), 30) for _ in range(2)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, upcycled_path: Path) -> list[Model]:
    """The same in F32, and with experts' downs in two coarser formats."""
    file, paths = gguf.open(upcycled_path), [upcycled_path]
    for name in ("q8_0", "q4_0"):
        format, tensors = FORMATS[name], {}
        assert format.quantize is not None
        for key, t in file.tensors.items():
            exact = np.asarray(t.data, np.float32)
            fits = t.shape[-1] % format.block == 0 and len(t.shape) > 1 and "attn_output" in key
            blocks = format.quantize(exact.reshape(-1, t.shape[-1]), None) if fits else exact
            tensors[key] = (format, blocks.reshape(*t.shape[:-1], -1)) if fits else (t.format, exact)
        folder = tmp_path_factory.mktemp(name)
        paths.append(small_models.write(folder / f"{name}.gguf", file.typed_metadata, tensors))
    return [localmix.load(path, "reference", kv="f32") for path in paths]


def test_each_as_compared_by_itself(models: list[Model]) -> None:
    found = quality.measure(models, ["f32", "q8_0", "q4_0"], 0, WINDOWS, speed=False)
    assert [one.is_base for one in found] == [True, False, False]
    for model, one in zip(models[1:], found[1:], strict=True):
        alone = perplexity.compare(model, models[0], WINDOWS)
        assert one.found.kl_mean == pytest.approx(alone.kl_mean, rel=1e-5)
        assert one.found.router == pytest.approx(alone.router)
        assert one.router == pytest.approx(np.mean(alone.router))
    base = found[0]
    assert base.found.score.perplexity == pytest.approx(perplexity.measure(models[0], WINDOWS).perplexity)
    assert (base.found.kl_mean, base.found.top1, base.router) == (0, 1, 1)
    assert 0 < found[1].found.kl_mean < found[2].found.kl_mean
    assert found[2].bytes < found[1].bytes < base.bytes
    assert found[2].as_dict()["decode_tokens_per_second"] is None


def test_the_best_is_the_widest(models: list[Model]) -> None:
    assert quality.best(models) == 0
    assert quality.best(models[::-1]) == 2


def test_names() -> None:
    assert quality.short_names([Path("a/x.Q4_0.gguf"), Path("b/x.Q8_0.gguf")]) == ["x.Q4_0", "x.Q8_0"]
    assert quality.short_names([Path("a/x.gguf"), Path("b/x.gguf")]) == ["a/x.gguf", "b/x.gguf"]
