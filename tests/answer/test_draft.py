"""Drafts: answers are those without, to the last id, and drafting stops where it does not pay."""

from typing import Any

import numpy as np
import pytest
from drafted_answers import SAMPLINGS, read

import localmix
from localmix.answer.draft import Drafting
from localmix.answer.gate import Gate
from localmix.answer.generate import Generation
from localmix.answer.lookup import Lookup
from localmix.answer.options import Options
from localmix.answer.scheduler import Scheduler
from localmix.answer.ticket import Request, Ticket
from localmix.engine.context import Context
from localmix.errors import LocalmixError
from localmix.model import Model

STORY = (
    "Once upon a time, there was a cat named Tom. Tom loved to play outside in the park. One day, Tom saw a big, red "
    "ball. It was blue and shiny. Tom took it home and played with it all day."
)
TWICE = f"{STORY}\n\n{STORY[:60]}"


class Eager(Gate):
    """Checks whatever there is."""

    def length(self, same: int, most: int) -> int:
        return most


@pytest.fixture(scope="module")
def plain() -> Model:
    return localmix.load(backend="numba", draft="off")


@pytest.fixture(scope="module")
def drafted() -> Model:
    model = localmix.load(backend="numba", draft="lookup")
    model.drafting = Drafting(gate=Eager())
    return model


@pytest.mark.parametrize(
    "options",
    [
        *SAMPLINGS,
        {"temp": 0, "stop": ["ball"]},
        {"temp": 0, "context": 125, "max_tokens": None},
        {"temp": 0.8, "json_schema": '{"type": "array", "items": {"const": "Tom saw a big, red ball"}}'},
    ],
    ids=str,
)
def test_an_answer_is_the_one_without(plain: Model, drafted: Model, options: dict[str, Any]) -> None:
    found, expected = read(drafted, TWICE, **options), read(plain, TWICE, **options)
    assert (found.ids, found.text, found.reason) == (expected.ids, expected.text, expected.reason)
    assert found.stats.decode_tokens == expected.stats.decode_tokens
    assert found.stats.drafted > expected.stats.drafted == 0
    assert found.stats.taken > 10 or "json_schema" not in options  # which makes it repeat itself


def test_the_context_is_as_without(plain: Model, drafted: Model) -> None:
    """So that what comes after an answer is the same, too."""
    kept = []
    for model in (plain, drafted):
        context = Context(model.engine)
        answer = Generation(model, context, model.tokenizer.encode(TWICE), Options(temp=0, max_tokens=80))
        answer.read()
        kept.append(context.dump() or ([], np.empty(0)))
    (ids, kv), (expected, other) = kept
    assert ids == expected
    assert np.array_equal(kv, other)


def test_a_conversation_that_loses_its_beginning(plain: Model, drafted: Model) -> None:
    texts = []
    for model in (plain, drafted):
        chat = model.chat(context=160, when_full="shift", notice=lambda text: None)
        texts.append([chat.send(STORY, temp=0.8, seed=1, max_tokens=150).read() for _ in range(2)])
    assert texts[0] == texts[1]


def test_log_probabilities_are_those_without(plain: Model, drafted: Model) -> None:
    pieces = []
    for model in (plain, drafted):
        request = Request(0, model.tokenizer.encode(TWICE), Options(temp=0, max_tokens=60), scores=3)
        ticket, scheduler = Ticket(model, request), Scheduler(model.engine)
        scheduler.submit(ticket)
        while not scheduler.idle:
            scheduler.step()
        pieces.append([(piece.text, piece.ids, piece.scores) for piece in ticket.take()])
    assert pieces[0] == pieces[1]


def test_experts_are_told_of_each_token(plain: Model, drafted: Model) -> None:
    """Answers that are watched are not drafted."""
    found, expected = (model.generate(TWICE, temp=0, max_tokens=40, routing=True) for model in (drafted, plain))
    assert found.read() == expected.read()
    assert found.stats.drafted == 0 < found.stats.tokens


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(LocalmixError, match=r"draft = 'fast': expected one of auto, off, lookup"):
        localmix.load(draft="fast")
    with pytest.raises(LocalmixError, match=r"--draft lookup: the reference backend .* use --draft off"):
        localmix.load(backend="reference", draft="lookup")
    assert localmix.load(backend="reference").drafting is None


def test_a_tiny_model_drafts_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert localmix.load(backend="numba").drafting is None
    monkeypatch.setattr("localmix.answer.draft._TINY", 1)
    assert localmix.load(backend="numba").drafting is not None


def guess(lookup: Lookup, most: int) -> tuple[list[int], int]:
    count, same = lookup.look(most)
    return lookup.guess(count), same


def test_lookup_takes_the_place_where_most_is_the_same() -> None:
    lookup = Lookup([1, 2, 3, 4, 90, 3, 4, 91, 2, 3, 4])
    assert guess(lookup, 5) == ([90, 3, 4, 91, 2], 3)  # not what followed "3 4" of late: that is 91
    for id in (90, 3, 4):
        lookup.push(id)
    assert guess(lookup, 2) == ([91, 2], 6)
    lookup.push(7)
    for short in (lookup, Lookup([1, 1]), Lookup([1]), Lookup([])):
        assert guess(short, 5) == ([], 0)


def test_lookup_goes_on_where_a_text_repeats_itself() -> None:
    assert guess(Lookup([1, 2, 3] * 4), 9) == ([1, 2, 3], 9)


def single(gate: Gate, passes: int, seconds: float = 1.0) -> None:
    for _ in range(passes):
        gate.learn(0, 0, 0, seconds)


def test_the_gate_waits_for_a_measure() -> None:
    gate = Gate()
    assert gate.length(32, 24) == 0
    single(gate, 1, 50.0)  # this one waited for other programs: beside it any draft would look cheap
    single(gate, 1)
    assert gate.length(32, 24) == 0
    single(gate, 1)
    assert gate.length(32, 24) > 8
    assert gate.length(32, 5) == 4


@pytest.mark.parametrize("cost", [0.02, 0.15, 0.5, 2.0])  # of an id, in single passes
def test_drafts_that_miss_cost_little(cost: float) -> None:
    gate, time = Gate(), 0.0
    single(gate, 1)
    for _ in range(1000):
        length = gate.length(6, 24)
        seconds = 1 + cost * length
        time += seconds
        gate.learn(6, length, 0, seconds)
    assert 1000 <= time < 1030 + 24 * cost


def test_drafts_that_hit_are_made_again_after_a_while() -> None:
    gate, tokens, time = Gate(), 0, 0.0
    for hits in (0, 24):
        for _ in range(600):
            length = gate.length(6, 24)
            seconds = 1 + 0.1 * length
            tokens, time = tokens + 1 + min(hits, length), time + seconds
            gate.learn(6, length, min(hits, length), seconds)
    assert tokens > 3 * time


def test_a_machine_on_which_each_id_costs_a_pass_does_not_draft() -> None:
    gate = Gate()
    single(gate, 9)
    for _ in range(3):
        gate.learn(32, 4, 4, 5.0)
    assert gate.length(32, 24) == 0


def test_a_source_that_asks_for_a_reading_is_heard_first() -> None:
    """As dear as reading is, it takes little of the time; one that agrees is drafted at once, one that does not when
    what was heard is forgotten, and is then heard again.
    """
    for agrees in (16, 0):
        gate, asked, drafted = Gate({0: 0.7}, 0.4, sure=1, asks=True), list[int](), 0
        single(gate, 3)
        for i in range(2000):
            if length := gate.length(0, 24):
                if not gate.asks:
                    drafted += 1
                elif gate.allowance >= 2:
                    asked.append(i)
                    gate.hear(agrees, 16, 2.0)
                length = 0
            gate.learn(0, length, 0, 1.0)
        assert 10 < asked[0] < 30
        assert (len(asked) == 1) == (drafted > 1900) == bool(agrees)
        assert len(asked) * 2 < 0.01 * 2000


def test_passes_that_waited_for_other_programs_do_not_end_drafts() -> None:
    """Every tenth takes 20 times as long, the first draft among them; where nine of ten ids are the next ones."""
    gate, tokens, time = Gate(), 0, 0.0
    single(gate, 9)
    rng = np.random.default_rng(0)
    for i in range(400):
        length = gate.length(6, 24)
        taken = min(length, int(rng.geometric(0.1)) - 1)
        seconds = 1 + 0.2 * length
        tokens, time = tokens + 1 + taken, time + seconds
        gate.learn(6, length, taken, seconds * (20 if i % 10 == 0 else 1))
    assert tokens > 1.7 * time


def test_stories_are_hardly_drafted() -> None:
    model = localmix.load(backend="numba", draft="lookup")
    answer = read(model, "Once upon a time", temp=0.8, max_tokens=200)
    assert answer.stats.drafted < 60
