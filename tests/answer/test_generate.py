import itertools
import json
import threading

import pytest
import small_models

from localmix.engine.batch import chunk, cut
from localmix.errors import ContextFullError, LocalmixError
from localmix.model import Model

STORY = (small_models.DATA / "stories260K" / "stories260K.greedy200.expected.txt").read_text()
GREEDY = json.loads((small_models.DATA / "stories260K" / "stories260K.greedy120.ids.json").read_text())


def test_published_text(stories: Model) -> None:
    answer = stories.generate("", temp=0, max_tokens=200)
    assert answer.read() == answer.text == STORY[: len(answer.text)]
    assert len(answer.text) > 400
    assert answer.ids[:120] == GREEDY["greedy_ids"]
    assert (answer.reason, len(answer.ids)) == ("length", 200)


def test_experts_that_are_one_function_give_the_same_ids(upcycled: Model) -> None:
    answer = upcycled.generate("", temp=0, max_tokens=120)
    answer.read()
    assert answer.ids == GREEDY["greedy_ids"]


def test_text_continues_the_prompt(stories: Model) -> None:
    assert stories.generate("Once upon", temp=0, max_tokens=3).read().startswith(" a time")
    assert stories.generate(stories.tokenizer.encode("Once upon"), temp=0, max_tokens=3).read().startswith(" a time")


def test_same_seed_same_text(stories: Model) -> None:
    def text(seed: int | None) -> str:
        return stories.generate("One day", temp=1.5, max_tokens=40, seed=seed).read()

    assert text(1) == text(1) != text(2)
    first = stories.generate("One day", temp=1.5, max_tokens=40)
    assert first.read() == text(first.seed)


def test_stop_strings_are_never_seen(stories: Model) -> None:
    pieces = list(answer := stories.generate("", temp=0, stop=["zzz", "girl named", "named Lily"]))
    assert "".join(pieces) == answer.text == STORY[: STORY.index("girl named")]
    assert answer.reason == "stop"


def test_what_was_held_back_comes_at_the_end(stories: Model) -> None:
    plain = stories.generate("", temp=0, max_tokens=30).read()
    assert stories.generate("", temp=0, max_tokens=30, stop=[plain[-3:] + "#"]).read() == plain


def test_context_is_filled_to_the_last_token(stories: Model) -> None:
    answer = stories.generate("Once upon a time", temp=0, context=16)
    answer.read()
    prompt = len(stories.tokenizer.encode("Once upon a time"))
    assert (answer.reason, len(answer.ids)) == ("context", 16 - prompt + 1)
    full = stories.generate(list(range(5, 21)), temp=0, context=16)
    full.read()
    assert (full.reason, len(full.ids)) == ("context", 1)


def test_prompt_longer_than_the_context_names_both_numbers(stories: Model) -> None:
    seen: list[tuple[int, int]] = []
    with pytest.raises(ContextFullError, match=r"has 17 tokens, the context holds 16.*up to 512"):
        stories.generate([5] * 17, context=16, progress=lambda *p: seen.append(p))
    assert not seen
    with pytest.raises(ContextFullError, match=r"has 513 tokens, the context holds 512: shorten it$"):
        stories.generate([5] * 513)


@pytest.mark.parametrize(("ids", "message"), [([], "empty"), ([1, 512], "1 to 512: expected 0 to 511"), ([-1], "-1")])
def test_bad_prompts(stories: Model, ids: list[int], message: str) -> None:
    with pytest.raises(LocalmixError, match=message):
        stories.generate(ids)


@pytest.mark.parametrize("context", [0, 513])
def test_bad_context(stories: Model, context: int) -> None:
    with pytest.raises(LocalmixError, match=f"{context} tokens: expected 1 to 512"):
        stories.generate("a", context=context)


def test_progress_and_timings(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories.engine, "chunk", 100)
    seen: list[tuple[int, int]] = []
    answer = stories.generate([5] * 250, max_tokens=4, progress=lambda *p: seen.append(p))
    assert not seen  # nothing happens before it is read
    answer.read()
    assert seen == [(0, 250), (100, 250), (200, 250), (250, 250)]
    stats = answer.stats
    assert (stats.prompt_tokens, stats.cached_tokens, stats.tokens, stats.decode_tokens) == (250, 0, 4, 3)
    assert stats.prompt_rate > 0
    assert stats.decode_rate > 0


def test_cancel_between_tokens_and_between_chunks(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = threading.Event()
    answer = stories.generate("", temp=0, cancel=cancel)
    pieces = list(itertools.islice(answer, 5))
    cancel.set()
    assert list(answer) == []
    assert (answer.reason, answer.text) == ("interrupted", "".join(pieces))

    monkeypatch.setattr(stories.engine, "chunk", 100)
    cancel.clear()
    answer = stories.generate([5] * 250, cancel=cancel, progress=lambda done, total: done and cancel.set())
    assert answer.read() == ""
    assert (answer.reason, answer.stats.prompt_tokens) == ("interrupted", 100)


def test_end_of_text_is_not_part_of_it(stories: Model) -> None:
    end = GREEDY["greedy_ids"][20]
    stories.tokenizer.end_ids = frozenset({end})
    answer = stories.generate("", temp=0)
    answer.read()
    assert answer.reason == "end"
    assert answer.ids == GREEDY["greedy_ids"][:20]


@pytest.mark.parametrize(("width", "hidden", "active", "tokens"), [(4096, 14336, 2, 256), (4096, 11008, 1, 512)])
def test_tokens_computed_at_once(width: int, hidden: int, active: int, tokens: int) -> None:
    """An interrupt waits for a layer: Mixtral 8x7B computes fewer at once than a dense model of 7B."""
    products = 2 * width * (width + width // 4) + active * 3 * width * hidden
    assert chunk(products) == tokens


def test_a_prompt_is_cut_so_that_no_token_is_alone() -> None:
    for room in range(4, 9):
        for prompt in range(1, 40):
            parts, left = [], prompt
            while left:
                parts.append(cut(left, room))
                left -= parts[-1]
            assert prompt == 1 or min(parts) > 1, (prompt, room)
            assert max(parts) <= room
    assert (cut(5, 0), cut(5, 1), cut(1, 1), cut(2, 2)) == (0, 0, 1, 2)
