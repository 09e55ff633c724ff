"""Continuations scored: the definition on logits held whole, and the same bits however much is shared."""

from pathlib import Path

import numpy as np
import pytest

import localmix
from localmix.errors import LocalmixError
from localmix.measure import scoring
from localmix.measure.scoring import Likelihood, Question, Scorer
from localmix.model import Model


def questions(vocabulary: int, bos: int = 1) -> list[Question]:
    """Few-shot: a preamble for all, questions, choices of one token and of several, and one without a context."""
    random = np.random.RandomState(7)

    def ids(count: int) -> list[int]:
        return random.randint(3, vocabulary, count).tolist()

    found, preamble = [], [bos, *ids(30)]
    for length in (12, 1, 5):
        context = [*preamble, *ids(length)]
        begin = ids(2)
        found += [Question([*context, *end], len(context)) for end in (ids(1), ids(1), begin + ids(1), begin + ids(4))]
    found += [Question([bos, *ids(1)], 1), Question([bos, *ids(40)], 1), found[2]]
    return found


def by_definition(model: Model, question: Question) -> Likelihood:
    logits = model.logits(question.ids[:-1])[question.first - 1 :].astype(np.float64)
    logs = logits - np.log(np.exp(logits - logits.max()).sum(axis=1, keepdims=True)) - logits.max()
    targets = np.array(question.ids[question.first :])
    return Likelihood(logs[np.arange(len(targets)), targets].sum(), (logits.argmax(axis=1) == targets).all())


def test_the_definition(upcycled: Model) -> None:
    asked = questions(upcycled.network.vocabulary)
    for found, question in zip(Scorer(upcycled.engine).score(asked), asked, strict=True):
        expected = by_definition(upcycled, question)
        assert found.nats == pytest.approx(expected.nats, rel=1e-3, abs=1e-3)
        assert found.greedy == expected.greedy


def test_greedy_continuations_are_known(upcycled: Model) -> None:
    prompt = upcycled.tokenizer.encode("Once upon a time")
    answer = upcycled.generate(prompt, temp=0, max_tokens=6)
    answer.read()
    ids = [*prompt, *answer.ids]
    other = [*ids[:-2], ids[-2] ^ 1, ids[-1]]
    found = Scorer(upcycled.engine).score([Question(ids, len(prompt)), Question(other, len(prompt))])
    assert [one.greedy for one in found] == [True, False]
    assert found[0].nats > found[1].nats


@pytest.mark.parametrize("chunk", [4, 16, 512])
def test_shared_prefixes_change_no_bit(chunk: int, upcycled_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All together, in any passes, as each alone: in F32, whose sums depend most on the company."""
    model = localmix.load(upcycled_path, "numba")
    asked = questions(model.network.vocabulary)
    alone = [Scorer(model.engine).score([question])[0] for question in asked]
    monkeypatch.setattr(model.engine, "chunk", chunk)
    scorer = Scorer(model.engine)
    assert scorer.score(asked) == alone
    assert scorer.score(asked[::-1]) == alone[::-1]
    assert scorer.computed < scorer.given / 2
    monkeypatch.setattr(scoring, "_LOGITS", 1)
    monkeypatch.setattr(scoring, "_PAGES", 1)
    assert Scorer(model.engine).score(asked) == alone


def test_the_bundled_model_too() -> None:
    model = localmix.load(backend="numba")
    asked = questions(model.network.vocabulary)
    alone = [Scorer(model.engine).score([question])[0] for question in asked]
    assert Scorer(model.engine).score(asked) == alone


def test_no_logits_of_a_whole_text(upcycled_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a pass are bounded, and nothing stays in the cache."""
    model = localmix.load(upcycled_path, "reference")
    seen, forward = [], model.engine.forward

    def watched(*given: object) -> np.ndarray:
        logits = forward(*given)  # type: ignore[arg-type]
        seen.append(len(logits))
        return logits

    monkeypatch.setattr(model.engine, "forward", watched)
    monkeypatch.setattr(scoring, "_LOGITS", 4 * 512 * 20)
    scorer = Scorer(model.engine)
    scorer.score([Question([1, *range(3, 250)], 1)])
    assert sum(seen) == 247
    assert max(seen) <= 20
    assert scorer._cache.nbytes == 0


def test_what_cannot_be_scored_is_refused(upcycled_path: Path) -> None:
    scorer = Scorer(localmix.load(upcycled_path, "reference").engine, 16)
    assert scorer.score([]) == []
    for question, problem in (
        (Question([1, 512], 1), "expected 0 to 511"),
        (Question([1, 2], 2), "expected a context and what follows"),
        (Question([1] * 18, 3), "17 tokens: the context holds 16"),
    ):
        with pytest.raises(LocalmixError, match=problem):
            scorer.score([question])
