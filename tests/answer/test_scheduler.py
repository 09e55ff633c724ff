"""Answers that share passes, places, memory and what was computed before: each is what it is alone."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import STORIES

import localmix
from localmix.answer.options import Options
from localmix.answer.scheduler import Scheduler
from localmix.answer.ticket import Request, Ticket
from localmix.errors import LocalmixError
from localmix.model import Model

TEXT = "Once upon a time there was a little girl who liked to play in the park with her red ball and a big dog. "
STORY = TEXT + "One day she went to the park with her mom. She saw a big tree and wanted to climb it. " + TEXT


@pytest.fixture(scope="module")
def model() -> Model:
    return localmix.load(STORIES, "numba")


def ticket(model: Model, text: str, owner: str = "", scores: int | None = None, **options: object) -> Ticket:
    chosen = Options(**({"temp": 0, "max_tokens": 30} | options))  # type: ignore[arg-type]
    ids = model.tokenizer.encode(text)
    return Ticket(model, Request(0, ids, chosen, continues=True, owner=owner, scores=scores))


def run(scheduler: Scheduler) -> list[Ticket]:
    ended = []
    while not scheduler.idle:
        ended += scheduler.step()
    return ended


def alone(model: Model, text: str, **options: object) -> list[int]:
    answer = model.generate(text, **({"temp": 0, "max_tokens": 30} | options))
    answer.read()
    return answer.ids


def test_what_was_read_before_changes_nothing(model: Model) -> None:
    """Texts, and the log-probabilities of every token, to the last bit; a second owner finds nothing."""
    prompts = [STORY, STORY + "Then", STORY[:200] + "But", STORY, "One day"]
    cold = []
    for prompt in prompts:
        one = ticket(model, prompt, scores=3)
        scheduler = Scheduler(model.engine)
        scheduler.submit(one)
        run(scheduler)
        cold.append(one)
    warm = Scheduler(model.engine, budget=None)
    for prompt, other in zip(prompts, cold, strict=True):
        one = ticket(model, prompt, scores=3)
        warm.submit(one)
        run(warm)
        assert one.ids == other.ids
        assert [p.scores for p in one.pieces] == [p.scores for p in other.pieces]
    count = len(model.tokenizer.encode(STORY))
    repeated, stranger = ticket(model, STORY), ticket(model, STORY, owner="b")
    for one, cached in ((repeated, count - 2), (stranger, 0)):
        warm.submit(one)
        run(warm)
        assert one.stats.cached_tokens == cached


def test_what_is_remembered_has_a_bound(model: Model) -> None:
    cache = model.engine.cache()
    budget = 12 * cache.page_bytes
    scheduler = Scheduler(model.engine, budget=budget, parallel=2)
    rng = np.random.default_rng(0)
    for _ in range(20):
        ids = rng.integers(3, 500, 200).tolist()
        scheduler.submit(Ticket(model, Request(0, ids, Options(temp=0, max_tokens=2))))
        run(scheduler)
        assert scheduler._prefixes is not None
        assert scheduler._prefixes.cache.nbytes <= budget
    assert scheduler._prefixes.tokens > 200


def test_the_youngest_waits_where_memory_ends(model: Model) -> None:
    """And goes on as if nothing had been."""
    cache = model.engine.cache()
    scheduler = Scheduler(model.engine, budget=10 * cache.page_bytes, parallel=4)
    tickets = [ticket(model, TEXT[: 20 + i], max_tokens=250, temp=1.0, seed=i) for i in range(4)]
    for one in tickets:
        scheduler.submit(one)
    seen = 0
    while not scheduler.idle:
        scheduler.step()
        assert scheduler._prefixes is not None
        assert scheduler._prefixes.cache.nbytes <= 11 * cache.page_bytes
        seen = max(seen, scheduler.active)
    assert seen > 1
    for i, one in enumerate(tickets):
        assert one.ids == alone(model, TEXT[: 20 + i], max_tokens=250, temp=1.0, seed=i)


def test_several_answers_to_one_prompt(model: Model) -> None:
    scheduler = Scheduler(model.engine)
    one, *others = (ticket(model, TEXT, temp=1.0, seed=seed) for seed in range(3))
    scheduler.submit(one, *others)
    run(scheduler)
    assert [t.ids for t in (one, *others)] == [alone(model, TEXT, temp=1.0, seed=seed) for seed in range(3)]
    assert scheduler.prompt_tokens == len(model.tokenizer.encode(TEXT))
    with pytest.raises(LocalmixError, match="17 answers"):
        scheduler.submit(*(ticket(model, TEXT) for _ in range(17)))


def test_who_is_cancelled_leaves_in_every_state(model: Model) -> None:
    scheduler = Scheduler(model.engine, parallel=2, gap=1e-9)
    reading, answering, waiting = ticket(model, STORY), ticket(model, "One"), ticket(model, "One")
    for one in (answering, reading, waiting):
        scheduler.submit(one)
    scheduler.step()
    assert (reading.reading, answering.reading, len(scheduler.waiting)) == (True, False, 1)
    for one in (reading, waiting):
        one.cancelled = True
    assert set(map(id, scheduler.step())) == {id(reading), id(waiting)}
    assert scheduler.active == 1
    run(scheduler)
    assert answering.ids == alone(model, "One")


def test_a_question_does_not_wait_for_a_book_nor_the_book_for_ever(model: Model) -> None:
    scheduler = Scheduler(model.engine, gap=1e-9)  # passes of the least size
    book = ticket(model, STORY)
    scheduler.submit(book)
    scheduler.step()
    question = ticket(model, "One")
    scheduler.submit(question)
    scheduler.step()
    assert not question.reading
    assert book.reading
    others = []
    while book.reading:  # one question after the other
        others.append(ticket(model, "One", max_tokens=1))
        scheduler.submit(others[-1])
        scheduler.step()
    assert sum(not one.reading for one in others) > 5


def test_scores_of_a_prompt_that_is_remembered(model: Model) -> None:
    """All of it is computed again: what is remembered has no logits."""
    scheduler = Scheduler(model.engine, parallel=2, budget=1 << 24)
    found = []
    for _ in range(3):
        asked = ticket(model, STORY, scores=1, max_tokens=2).request
        one = Ticket(model, replace(asked, echo=True))
        scheduler.submit(one)
        run(scheduler)
        found.append([score and score.logprob for score in one.prompt_scores])
    assert scheduler.memory[1] > 0
    assert found[0] == found[1] == found[2]


def test_answers_and_short_prompts_go_on_between_the_layers_of_long_ones(model: Model) -> None:
    """Each is what it is alone, of two prompts that are read at once too; nobody waits for more than a layer."""
    scheduler = Scheduler(model.engine, gap=1e-9, budget=1 << 26)
    texts = ["One day", STORY + "Then", STORY + "But", "Tom was"]
    tickets = [ticket(model, text) for text in texts]
    scheduler.submit(tickets[0])
    scheduler.step()
    for one in tickets[1:3]:
        scheduler.submit(one)
    ordinary, mixed = scheduler._pass, list[bool]()

    def passed(answering: list[Ticket], reading: list[tuple[Ticket, int]]) -> None:
        mixed.append(bool(answering and reading and scheduler._layers))
        ordinary(answering, reading)

    scheduler._pass = passed  # type: ignore[method-assign]
    steps = without = 0
    while not scheduler.idle:
        before, reading = len(tickets[0].ids), any(one.reading for one in tickets[1:3])
        scheduler.step()
        steps += 1
        if reading and not tickets[0].ended:
            without = without + 1 if len(tickets[0].ids) == before else 0
            assert without <= 2  # a layer and what is left of the last one
        if steps == 2:
            scheduler.submit(tickets[3])
    assert [one.ids for one in tickets] == [alone(model, text) for text in texts]
    assert not any(mixed)  # who has waited for a layer does not wait for prompts besides


def test_an_answer_that_is_alone_tells_what_answers_take(model: Model) -> None:
    """So the first long prompt beside it is read in layers that leave time for its tokens."""
    scheduler = Scheduler(model.engine, gap=0.5)
    scheduler.submit(ticket(model, TEXT, max_tokens=4))
    run(scheduler)
    assert scheduler._pace._answering(1) > 0


def test_who_is_cancelled_between_layers_gives_all_back(model: Model) -> None:
    scheduler = Scheduler(model.engine, parallel=3, gap=1e-9, budget=1 << 26)
    running, book, other = ticket(model, "One day"), ticket(model, STORY), ticket(model, STORY + "But")
    scheduler.submit(running)
    scheduler.step()
    scheduler.submit(book)
    scheduler.submit(other)
    while scheduler._reading is None or not scheduler._layers:
        scheduler.step()
    assert book.reading
    book.cancelled = True
    while book in scheduler.rows:  # until the pass, which others need, is over
        scheduler.step()
    other.cancelled = True
    scheduler.step()
    assert scheduler.rows == [running]
    assert scheduler._reading is None
    run(scheduler)
    assert running.ids == alone(model, "One day")
    assert scheduler._prefixes is not None
    for kept in list(scheduler._prefixes._kept):
        scheduler._prefixes._drop(kept)
    assert scheduler.memory == (0, 0)


def test_where_memory_ends_between_layers(model: Model) -> None:
    """A pass that has to go is begun again."""
    cache = model.engine.cache()
    scheduler = Scheduler(model.engine, budget=9 * cache.page_bytes, parallel=4, gap=1e-9)
    texts = [TEXT[:20], TEXT[:30], STORY, STORY + "But"]
    tickets = [ticket(model, text, max_tokens=150) for text in texts]
    for one in tickets:
        scheduler.submit(one)
    run(scheduler)
    assert [one.ids for one in tickets] == [alone(model, text, max_tokens=150) for text in texts]
