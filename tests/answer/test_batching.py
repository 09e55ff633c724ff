import numpy as np
import pytest

from localmix.answer.batching import Answer, Batching, Request
from localmix.answer.options import Options
from localmix.engine.cache import PAGE
from localmix.errors import ContextFullError, LocalmixError
from localmix.model import Model

TEXT = "Once upon a time there was a little girl who liked to play in the park with her red ball and a big dog"
PROMPTS = [TEXT[: 4 + 10 * i] for i in range(10)]


def answers(
    model: Model, options: list[Options], context: int | None = None, parallel: int = 4
) -> dict[object, Answer]:
    requests = [
        Request(i, model.tokenizer.encode(prompt), option, continues=True)
        for i, (prompt, option) in enumerate(zip(PROMPTS, options, strict=False))
    ]
    return {answer.id: answer for answer in Batching(model, requests, parallel=parallel, context=context)}


@pytest.mark.parametrize("parallel", [1, 4, 16])
def test_texts_are_those_of_one_at_a_time(stories: Model, parallel: int) -> None:
    options = [Options(temp=0, max_tokens=5 + 7 * (i % 4)) for i in range(10)]
    options[3] = Options(temp=1.5, max_tokens=30, seed=5)
    options[6] = Options(temp=0, max_tokens=60, stop=["."], repeat_penalty=1.3)
    found = answers(stories, options, parallel=parallel)
    for i, (prompt, option) in enumerate(zip(PROMPTS, options, strict=True)):
        alone = stories.generate(prompt, **vars(option))
        alone.read()
        assert (found[i].text, found[i].ids, found[i].reason) == (alone.text, alone.ids, alone.reason)
        assert found[i].prompt_tokens == len(stories.tokenizer.encode(prompt))
    assert {answer.reason for answer in found.values()} == {"length", "stop"}


def test_a_prompt_is_read_while_others_go_on(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [Options(temp=0, max_tokens=12, seed=1)] * 10
    whole = answers(stories, options)
    monkeypatch.setattr(stories.engine, "chunk", 6)
    assert answers(stories, options) == whole


def test_the_end_and_a_full_context(stories: Model) -> None:
    plain = answers(stories, [Options(temp=0, max_tokens=20)])[0]
    full = answers(stories, [Options(temp=0)] * 2, context=16)
    assert [full[i].reason for i in (0, 1)] == ["context", "context"]
    assert full[0].prompt_tokens + len(full[0].ids) == 17  # the last one need not be computed
    end = plain.ids[10]
    stories.tokenizer.end_ids = frozenset({end})
    ended = answers(stories, [Options(temp=0)])[0]
    assert (ended.reason, ended.ids) == ("end", plain.ids[: plain.ids.index(end)])


def test_places_in_the_cache_are_used_again(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    cache = stories.engine.cache
    monkeypatch.setattr(stories.engine, "cache", lambda *a: made.append(cache(*a)) or made[-1])
    answers(stories, [Options(temp=0, max_tokens=3)] * 10, parallel=2)
    (one,) = made
    if hasattr(one, "pages"):
        assert len(one.pages) == 512 // PAGE  # allocated at once; ten answers would have needed more


def test_progress(stories: Model) -> None:
    seen = []
    requests = [Request(i, [5, 6, 7], Options(temp=0, max_tokens=4)) for i in range(3)]
    batching = Batching(
        stories, requests, parallel=2, progress=lambda b: seen.append((b.prompt_tokens, b.tokens, b.active))
    )
    assert [answer.id for answer in batching] == [0, 1, 2]
    assert seen == [(6, 2, 2), (6, 4, 2), (6, 6, 2), (6, 8, 0), (9, 9, 1), (9, 10, 1), (9, 11, 1), (9, 12, 0)]


def test_errors(stories: Model) -> None:
    with pytest.raises(LocalmixError, match="parallel = 0"):
        Batching(stories, [], parallel=0)
    with pytest.raises(ContextFullError, match="has 20 tokens, the context holds 16"):
        list(Batching(stories, [Request("x", [5] * 20, Options())], context=16))
    assert list(Batching(stories, [])) == []


def test_whatever_pause_raises_ends_all(stories: Model) -> None:
    calls = 0

    def pause() -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt

    batching = Batching(stories, [Request(i, [1, 40 + i], Options(temp=0)) for i in range(2)], pause=pause)
    with pytest.raises(KeyboardInterrupt):
        list(batching)
    assert calls == 7


def test_what_is_computed_for_one_does_not_depend_on_the_others(stories: Model) -> None:
    """Also not in the last bit, so that an answer is the same whoever happens to be there."""
    if stories.backend.name != "numba":
        pytest.skip("BLAS and MLX choose their kernels by the number of rows")
    from localmix.engine.batch import Batch

    def logits(others: int) -> np.ndarray:
        cache = stories.engine.cache()
        rows = [(cache.new(), 0, [1, 40 + i, 50, 60]) for i in range(others + 1)]
        stories.engine.forward(Batch.of(rows), cache)
        return stories.engine.forward(Batch.of([(sequence, 4, [70]) for sequence, _, _ in rows]), cache)[0]

    assert np.array_equal(logits(1), logits(2))
    assert np.array_equal(logits(1), logits(9))
