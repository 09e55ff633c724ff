from pathlib import Path

import pytest
from small_models import chatty_stories

import localmix
from localmix import LocalmixError
from localmix.conversation import record as saved
from localmix.conversation.chat import Chat
from localmix.model import Model

GREEDY = {"temp": 0, "max_tokens": 8}


@pytest.fixture
def model(chatty_path: Path) -> Model:
    return localmix.load(chatty_path)


@pytest.fixture
def chat(model: Model, tmp_path: Path) -> Chat:
    """A conversation of one turn, saved."""
    chat = model.chat()
    chat.send("Hello " * 60, **GREEDY).read()  # more than a page
    saved.save(tmp_path / "talk.json", chat)
    saved.save_cache(tmp_path / "talk.json", chat)
    return chat


def test_a_resumed_conversation_computes_nothing_again(model: Model, chat: Chat, tmp_path: Path) -> None:
    other = model.chat()
    assert saved.load(tmp_path / "talk.json", other) is None
    assert other.messages == chat.messages
    first, second = (one.send("And then?", **GREEDY) for one in (chat, other))
    assert first.read() == second.read()
    assert first.stats.cached_tokens == second.stats.cached_tokens > 60


def test_the_cache_grows_by_what_is_new(model: Model, chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "talk.kv"
    first = path.read_bytes()
    chat.send("And then?", **GREEDY).read()
    saved.save_cache(tmp_path / "talk.json", chat)
    second = path.read_bytes()
    assert second.startswith(first)
    assert len(second) > len(first)
    saved.save_cache(tmp_path / "talk.json", chat)
    assert path.read_bytes() == second
    chat.undo()
    chat.send("Why?", **GREEDY).read()
    saved.save_cache(tmp_path / "talk.json", chat)
    other = model.chat()
    saved.save(tmp_path / "talk.json", chat)
    assert saved.load(tmp_path / "talk.json", other) is None
    assert other.context.ids == chat.context.ids


@pytest.mark.parametrize("damage", ["byte", "cut", "model", "ids", "none", "empty"])
def test_a_cache_that_does_not_fit_is_refused_and_the_text_kept(
    model: Model, chat: Chat, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "talk.kv"
    raw = path.read_bytes()
    head, part, rest = raw.split(b"\n", 2)
    if damage == "byte":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(raw[:-5])
    elif damage == "none":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "model":
        path.write_bytes(head.replace(b'"model":"', b'"model":"0') + b"\n" + part + b"\n" + rest)
    else:
        path.write_bytes(head + b"\n" + part.replace(b'"ids":[', b'"ids":[7,') + b"\n" + rest)
    other = model.chat()
    assert "computed again" in str(saved.load(tmp_path / "talk.json", other))
    assert other.messages == chat.messages
    answer = other.send("And then?", **GREEDY)
    assert answer.read() == chat.send("And then?", **GREEDY).read()
    assert answer.stats.cached_tokens == 0


def test_a_cache_cut_off_serves_as_far_as_it_is_sound(model: Model, chat: Chat, tmp_path: Path) -> None:
    """As a kill while it was written leaves it."""
    path, before = tmp_path / "talk.kv", len(chat.context.ids)
    chat.send("And then?", **GREEDY).read()
    saved.save(tmp_path / "talk.json", chat)
    saved.save_cache(tmp_path / "talk.json", chat)
    path.write_bytes(path.read_bytes()[:-5])
    other = model.chat()
    assert f"computed again after {before} tokens" in str(saved.load(tmp_path / "talk.json", other))
    assert other.send("Why?", **GREEDY).read() == chat.send("Why?", **GREEDY).read()
    saved.save_cache(tmp_path / "talk.json", other)
    assert saved.load(tmp_path / "talk.json", model.chat()) is None  # mended


def test_another_models_and_damaged_conversations_are_refused(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    before = path.read_bytes()
    other = localmix.load(chatty_stories(tmp_path / "other.gguf", **{"general.name": "other"})).chat()
    with pytest.raises(LocalmixError, match="with another model"):
        saved.load(path, other)
    saved.load(path, other, any_model=True)
    assert [message.content for message in other.messages] == [message.content for message in chat.messages]
    path.write_bytes(before[:-3])
    with pytest.raises(LocalmixError, match="damaged one; the file was left"):
        saved.load(path, chat)
    assert path.read_bytes() == before[:-3]


def test_turns_are_undone(model: Model) -> None:
    chat = model.chat()
    assert chat.undo() is None
    for text in ("one", "two"):
        chat.send(text, **GREEDY).read()
    assert chat.undo() == "two"
    assert [message.content for message in chat.messages][::2] == ["one"]
