import itertools
from pathlib import Path

import numpy as np
import pytest
import small_models

import localmix
from localmix.engine.batch import Batch
from localmix.errors import ContextFullError, LocalmixError
from localmix.model import Model
from localmix.template import Message

GREEDY = {"temp": 0, "max_tokens": 12}


def fresh(model: Model, messages: list[Message]) -> list[int]:
    """The ids of an answer to a conversation, with nothing cached."""
    assert model.template is not None
    answer = model.generate(model.template.encode(messages), **GREEDY)
    answer.read()
    return answer.ids


def test_turns_use_the_cache_and_answer_as_if_there_were_none(chatty: Model) -> None:
    chat = chatty.chat()
    for turn, text in enumerate(["Hello", "And then?", "Why?"]):
        answer = chat.send(text, **GREEDY)
        expected = fresh(chatty, [*chat.messages, Message("user", text)])
        answer.read()
        assert answer.ids == expected
        assert bool(answer.stats.cached_tokens) == bool(turn)
        assert answer.stats.prompt_tokens < 30  # the earlier turns are not computed again
    assert [m.role for m in chat.messages] == ["user", "assistant"] * 3
    assert all(m.ids is not None for m in chat.messages if m.role == "assistant")


def test_an_answer_cut_short_is_kept_as_it_is(chatty: Model) -> None:
    chat = chatty.chat()
    answer = chat.send("Hello", temp=0)
    pieces = list(itertools.islice(answer, 3))
    next_answer = chat.send("And then?", **GREEDY)  # ends the first
    assert answer.reason == "interrupted"
    next_answer.read()
    assert chat.messages[1].content == "".join(pieces)
    assert next_answer.ids == fresh(chatty, chat.messages[:3])


def test_an_answer_that_was_never_read_leaves_no_trace(chatty: Model) -> None:
    chat = chatty.chat()
    chat.send("Hello", temp=0)
    chat.send("Again", **GREEDY).read()
    assert [m.content for m in chat.messages][:1] == ["Again"]


def test_a_stop_string_is_not_in_the_next_prompt(chatty: Model) -> None:
    chat = chatty.chat()
    whole = chat.send("Hello", **GREEDY).read()
    chat.reset()
    assert chat.send("Hello", stop=[whole[4:6]], **GREEDY).read() == whole[: whole.index(whole[4:6])]
    assert chat.messages[1].ids is None
    answer = chat.send("And then?", **GREEDY)
    answer.read()
    assert answer.ids == fresh(chatty, chat.messages[:3])


def test_a_conversation_that_grew_too_long_is_left_as_it_was(chatty: Model) -> None:
    chat = chatty.chat(context=64)
    chat.send("Hello", **GREEDY).read()
    before = chat.messages
    with pytest.raises(ContextFullError, match=r"prompt has \d+ tokens, the context holds 64"):
        chat.send("word " * 60, **GREEDY)
    assert chat.messages == before
    chat.send("Hi", **GREEDY).read()
    assert len(chat.messages) == 4


def test_reset_keeps_the_system_prompt(folder: Path, backend: str) -> None:
    template = "{% for m in messages %}{{ m.role + ':' + m.content }}{% endfor %}"
    model = localmix.load(small_models.chatty_stories(folder / "system.gguf", template), backend)
    chat = model.chat("Be brief.")
    first = chat.send("Hello", **GREEDY).read()
    chat.reset()
    assert [m.role for m in chat.messages] == ["system"]
    assert chat.send("Hello", **GREEDY).read() == first


def test_two_conversations_take_turns_on_one_model(chatty: Model) -> None:
    alone = [chatty.chat().send(text, **GREEDY).read() for text in ("Hello", "Why?")]
    both = [chatty.chat().send(text, **GREEDY) for text in ("Hello", "Why?")]
    for _ in itertools.zip_longest(*both):
        pass
    assert [answer.text for answer in both] == alone


def test_two_models_in_one_process(backend: str, chatty_path: Path, upcycled_path: Path) -> None:
    both = [localmix.load(path, backend).generate("One day", **GREEDY) for path in (chatty_path, upcycled_path)]
    for _ in itertools.zip_longest(*both):
        pass
    assert both[0].text == both[1].text != ""


def test_an_interrupted_forward_pass_leaves_no_trace(chatty: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = chatty.chat()
    chat.send("Hello", **GREEDY).read()
    step = chatty.engine._step

    def interrupted(batch: Batch, cache: object, *_: object) -> np.ndarray:
        step(batch, cache)
        raise KeyboardInterrupt

    monkeypatch.setattr(chatty.engine, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chat.send("And then?", **GREEDY).read()
    monkeypatch.undo()
    assert len(chat.messages) == 2
    answer = chat.send("Why?", **GREEDY)
    answer.read()
    assert answer.ids == fresh(chatty, chat.messages[:3])


def test_an_answer_pauses_between_layers(chatty: Model) -> None:
    """What is raised there ends the pass, after as many layers as were computed, and leaves no trace."""
    chat, layers = chatty.chat(), len(chatty.network.layers)
    chat.send("Hello", **GREEDY).read()
    passed = 0

    def interrupted() -> None:
        nonlocal passed
        passed += 1
        if passed == layers - 1:
            raise KeyboardInterrupt

    chat.context.pause = interrupted
    with pytest.raises(KeyboardInterrupt):
        chat.send("And then?", **GREEDY).read()
    assert passed == layers - 1
    chat.context.pause = None
    answer = chat.send("Why?", **GREEDY)
    answer.read()
    assert answer.ids == fresh(chatty, chat.messages[:3])


def test_a_model_without_template_says_so(stories: Model) -> None:
    with pytest.raises(LocalmixError, match="no chat template"):
        stories.chat()
