from pathlib import Path

import numpy as np
import pytest
from small_models import chatty_stories

import localmix
from localmix.conversation.chat import Chat
from localmix.engine.context import Context
from localmix.errors import ContextFullError, LocalmixError
from localmix.model import Model

GREEDY = {"temp": 0, "max_tokens": 12}
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' and loop.previtem is defined and loop.previtem.role == 'user' %}"
    "{{ raise_exception('two questions in a row') }}{% endif %}{{ m.role[0] + ':' + m.content + '\n' }}{% endfor %}"
)


@pytest.fixture
def model(folder: Path, backend: str) -> Model:
    """Its template refuses a conversation of anything but whole turns."""
    return localmix.load(chatty_stories(folder / "strict.gguf", TEMPLATE), backend)


def talk(model: Model, policy: str, said: list[str], context: int = 128) -> Chat:
    chat = model.chat("Be brief.", context=context, when_full=policy, notice=said.append)
    for turn in range(12):
        chat.send(f"Question number {turn}", **GREEDY).read()
    return chat


@pytest.mark.parametrize("policy", ["drop", "shift"])
def test_what_does_not_fit_is_left_out_and_said(model: Model, policy: str) -> None:
    said: list[str] = []
    chat = talk(model, policy, said)
    assert len(chat.messages) == 1 + 24  # nothing of the text is lost
    assert said
    assert all(line.startswith("the context of 128 tokens is full: the oldest") for line in said)
    assert len(said) < 6  # not at every turn
    text = model.tokenizer.decode(chat.context.ids)
    assert "Be brief." in text
    assert "number 11" in text
    assert "number 0" not in text


def test_a_full_context_is_an_error_where_nothing_may_be_left_out(model: Model) -> None:
    with pytest.raises(ContextFullError):
        talk(model, "stop", [])
    with pytest.raises(LocalmixError, match="expected one of stop, drop, shift"):
        model.chat(when_full="forget")


def test_dropping_leaves_what_a_shorter_conversation_would_be(model: Model) -> None:
    chat = talk(model, "drop", [])
    short = model.chat("Be brief.", context=128)
    short.messages = [chat.messages[0], *chat.messages[1 + 2 * chat.overflow.turns : -2]]
    assert short.send(chat.messages[-2].content, **GREEDY).read() == chat.messages[-1].content
    assert short.context.ids == chat.context.ids


@pytest.mark.parametrize("policy", ["drop", "shift"])
def test_an_answer_goes_on_when_the_context_is_full(model: Model, policy: str) -> None:
    said: list[str] = []
    chat = talk(model, policy, [], 128)
    chat.overflow.notice = said.append
    answer = chat.send("Tell me all", temp=0, max_tokens=90)
    answer.read()
    assert (answer.reason, len(answer.ids)) == ("length", 90)
    assert said


def test_an_answer_that_fills_the_context_alone_ends(model: Model) -> None:
    answer = model.chat(context=64, when_full="drop").send("Tell me all", temp=0)
    answer.read()
    assert answer.reason == "context"


@pytest.mark.parametrize("policy", ["drop", "shift"])
def test_a_question_too_long_by_itself_changes_nothing(model: Model, policy: str) -> None:
    said: list[str] = []
    chat = model.chat(context=128, when_full=policy, notice=said.append)
    for _ in range(2):
        chat.send("Hello", **GREEDY).read()
    with pytest.raises(ContextFullError):
        chat.send("word " * 200, **GREEDY)
    assert (chat.overflow.turns, chat.overflow.tokens, said) == (0, 0, [])
    chat.send("Hello", **GREEDY).read()


def test_a_shifted_cache_computes_nothing_again(model: Model) -> None:
    said: list[str] = []
    chat = model.chat("Be brief.", context=128, when_full="shift", notice=said.append)
    while not said:
        answer = chat.send("Hello there", **GREEDY)
        answer.read()
    assert answer.stats.prompt_tokens < 40 < answer.stats.cached_tokens
    turns = len(chat.messages)
    while len(chat.messages) > turns - 8:
        chat.undo()
    chat.send("And now?", **GREEDY).read()  # fewer tokens than were left out
    assert chat.overflow.tokens == 0


def test_shifted_keys_are_those_of_the_new_places(model: Model) -> None:
    """In the first layer, where a key depends on its token and place alone."""
    ids = list(range(100, 180))
    shifted, fresh = Context(model.engine, 128, "f32"), Context(model.engine, 128, "f32")
    shifted.advance(ids)
    shifted.shift(3, 40)
    fresh.advance(ids[:3] + ids[43:])
    (a, one), (b, other) = shifted.dump(), fresh.dump()
    assert a == b == shifted.ids
    assert np.allclose(one[0], other[0], rtol=0, atol=1e-4)
    assert not np.allclose(one[-1], other[-1], rtol=0, atol=0.1)
