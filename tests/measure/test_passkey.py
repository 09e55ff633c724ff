"""Numbers hidden in texts, and perplexity by how much context there is, against their definitions."""

from pathlib import Path

import numpy as np
import pytest

import localmix
from localmix.errors import LocalmixError
from localmix.measure import passkey
from localmix.measure.windows import Window
from localmix.model import Model

LENGTHS, DEPTHS = (320, 400), (0.0, 0.5, 1.0)


def test_texts_fill_their_length(upcycled_path: Path) -> None:
    """As nearly as sentences do; the key is where it should be, twice, and the answer alone is scored."""
    tokenizer = localmix.load(upcycled_path, "reference").tokenizer
    asked = passkey.trials(tokenizer, LENGTHS, DEPTHS, 2)
    assert len(asked) == 2 * 3 * 2
    assert len({trial.key for trial in asked}) == 2
    for trial in asked:
        ids, first = trial.question
        assert trial.length - 40 < len(ids) <= trial.length
        before, answer = tokenizer.decode(ids[:first]), tokenizer.decode(ids[first:])
        assert before.count(str(trial.key)) == 2
        assert tokenizer.decode(ids).endswith(f"The pass key is {trial.key}")
        assert str(trial.key).endswith(answer.strip())
        place = before.index(f"pass key is {trial.key}") / len(before)
        assert (place < 0.3, 0.3 < place < 0.7, place > 0.7) == tuple(trial.depth == depth for depth in DEPTHS)


def test_the_grid(upcycled: Model) -> None:
    """A cell is what a greedy answer gives, and the mean of what the key's ids have."""
    asked = passkey.trials(upcycled.tokenizer, LENGTHS[:1], DEPTHS, 2)
    grid = passkey.measure(upcycled, asked)
    assert grid.found.shape == grid.nats.shape == (3, 1)
    for d, depth in enumerate(DEPTHS):
        found, nats = [], []
        for trial in (trial for trial in asked if trial.depth == depth):
            ids, first = trial.question
            logits = upcycled.logits(ids[:-1])[first - 1 :].astype(np.float64)
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            nats.append(logs[np.arange(len(logs)), ids[first:]].sum())
            found.append((logits.argmax(axis=1) == ids[first:]).all())
        assert grid.found[d, 0] == np.mean(found)
        assert grid.nats[d, 0] == pytest.approx(np.mean(nats), rel=1e-3)


def test_perplexity_by_context(upcycled: Model) -> None:
    random = np.random.RandomState(3)
    windows = [Window(random.randint(3, 512, 70).tolist(), 35) for _ in range(3)]
    found = passkey.reach(upcycled, windows)
    assert [(one.start, one.end, one.score.tokens) for one in found] == [
        (0, 16, 45), (16, 32, 48), (32, 64, 96), (64, 70, 18)
    ]  # fmt: skip
    nats = []
    for window in windows:
        logits = upcycled.logits(window.ids)[:-1].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        nats.append(-logs[np.arange(69), window.ids[1:]])
    expected = np.exp(np.array(nats)[:, 15:31].mean())
    assert found[1].score.perplexity == pytest.approx(expected, rel=1e-3)


def test_too_short_a_length_is_refused(upcycled_path: Path) -> None:
    tokenizer = localmix.load(upcycled_path, "reference").tokenizer
    with pytest.raises(LocalmixError, match="a length of 64 tokens: expected"):
        passkey.trials(tokenizer, [64], DEPTHS, 1)
