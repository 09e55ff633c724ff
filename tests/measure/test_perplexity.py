"""Perplexity and divergence, against their definitions on logits held whole."""

from pathlib import Path

import numpy as np
import pytest
import small_models

import localmix
from localmix import gguf
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from localmix.measure import perplexity, windows
from localmix.measure.windows import Window
from localmix.model import Model

RANDOM = np.random.RandomState(1)
WINDOWS = [
    Window(RANDOM.randint(3, 512, size).tolist(), first) for size, first in ((50, 25), (31, 0), (2, 0), (64, 32))
]


@pytest.fixture
def upcycled(upcycled_path: Path, backend: str) -> Model:
    """With keys and values in f32: rounded to f16, a number that lies between two may go to either."""
    return localmix.load(upcycled_path, backend, kv="f32")


def log_probabilities(model: Model, window: Window) -> np.ndarray:
    """Those of the rows that are scored, in double precision."""
    logits = model.logits(window.ids)[window.first : -1].astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def nats(model: Model) -> np.ndarray:
    found = []
    for window in WINDOWS:
        rows = log_probabilities(model, window)
        found.append(-rows[np.arange(len(rows)), window.ids[window.first + 1 :]])
    return np.concatenate(found)


@pytest.fixture(scope="module")
def noisy_path(tmp_path_factory: pytest.TempPathFactory, upcycled_path: Path) -> Path:
    """The upcycled model with noise on its weights."""
    file = gguf.open(upcycled_path)
    noise = np.random.RandomState(2)
    tensors = {
        name: (t.format, (t.data + 0.02 * noise.standard_normal(t.data.shape)).astype(np.float32))
        for name, t in file.tensors.items()
    }
    return small_models.write(tmp_path_factory.mktemp("noisy") / "noisy.gguf", file.typed_metadata, tensors)


def test_the_definition(upcycled: Model) -> None:
    expected, seen = nats(upcycled), list[tuple[int, int]]()
    score = perplexity.measure(upcycled, WINDOWS, lambda done, total, _: seen.append((done, total)))
    assert score.tokens == expected.size == 24 + 30 + 1 + 31
    assert score.perplexity == pytest.approx(np.exp(expected.mean()), rel=1e-4)
    error = expected.std() / np.sqrt(expected.size - 1)
    assert score.error == pytest.approx(score.perplexity * error, rel=1e-3)
    assert seen[-1] == (147, 147)


def test_long_windows_in_pieces(upcycled: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = perplexity.measure(upcycled, WINDOWS).perplexity
    monkeypatch.setattr(windows, "CHUNK", 20)
    assert perplexity.measure(upcycled, WINDOWS).perplexity == pytest.approx(whole, rel=1e-4)


def test_divergence_from_another_model(upcycled: Model, noisy_path: Path, backend: str) -> None:
    noisy = localmix.load(noisy_path, backend, kv="f32")
    found = perplexity.compare(noisy, upcycled, WINDOWS)
    pairs = [(log_probabilities(noisy, window), log_probabilities(upcycled, window)) for window in WINDOWS]
    kl = np.concatenate([(np.exp(p) * (p - q)).sum(axis=1) for q, p in pairs])
    same = np.concatenate([q.argmax(axis=1) == p.argmax(axis=1) for q, p in pairs])
    assert found.kl_mean == pytest.approx(kl.mean(), rel=1e-3)
    assert found.kl_percentile(50) == pytest.approx(np.median(kl), rel=1e-2)
    assert found.kl_percentile(99) == pytest.approx(np.percentile(kl, 99), rel=1e-2)
    assert found.top1 == pytest.approx(same.mean(), abs=0.02)
    assert found.base.perplexity == pytest.approx(np.exp(nats(upcycled).mean()), rel=1e-4)
    assert found.score.perplexity == pytest.approx(np.exp(nats(noisy).mean()), rel=1e-4)


def test_agreement_of_routers(upcycled: Model, noisy_path: Path, backend: str) -> None:
    """The same experts in another order agree; the noise moves some tokens, more in later layers than in the first."""
    noisy = localmix.load(noisy_path, backend, kv="f32")
    chosen: list[list[np.ndarray]] = [[], []]
    for model, seen in zip((noisy, upcycled), chosen, strict=True):
        for window in WINDOWS:
            cache = model.engine.cache(64)
            batch = Batch.of([(cache.new(), 0, window.ids)])
            told: list[np.ndarray] = []
            model.engine.forward(batch, cache, told.append)
            seen.append(told[0][:, window.first : -1])
    ours, theirs = (np.concatenate(seen, axis=1) for seen in chosen)
    layers, tokens = ours.shape[:2]
    same = [[set(ours[i, t]) == set(theirs[i, t]) for t in range(tokens)] for i in range(layers)]
    expected = np.mean(same, axis=1).tolist()
    found = perplexity.compare(noisy, upcycled, WINDOWS)
    assert found.router == pytest.approx(expected, abs=0.03)
    assert len(found.router) == len(upcycled.network.layers)
    assert 0.3 < found.router[0] < 1


def test_a_model_against_itself(upcycled: Model) -> None:
    found = perplexity.compare(upcycled, upcycled, WINDOWS)
    assert found.kl_mean == pytest.approx(0, abs=1e-7)
    assert found.top1 == 1
    assert found.router == [1.0] * len(upcycled.network.layers)
    assert not np.isnan(found.score.error)


def test_dense_models_have_no_router(stories: Model) -> None:
    assert perplexity.compare(stories, stories, WINDOWS[:1]).router == []


def test_other_vocabularies_are_refused(upcycled: Model) -> None:
    with pytest.raises(LocalmixError, match="another vocabulary"):
        perplexity.compare(upcycled, localmix.load(), WINDOWS)


def test_ids_of_no_token_are_refused(upcycled: Model) -> None:
    with pytest.raises(LocalmixError, match="expected 0 to 511"):
        perplexity.measure(upcycled, [Window([1, 512], 0)])
