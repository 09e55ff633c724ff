import json
from pathlib import Path

import pytest
from small_models import chatty_stories

import localmix
from localmix import LocalmixError, saved
from localmix.model import Model
from localmix.session import Chat

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


@pytest.mark.parametrize("damage", ["byte", "cut", "model", "ids", "none"])
def test_a_cache_that_does_not_fit_is_refused_and_the_text_kept(
    model: Model, chat: Chat, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "talk.kv"
    raw = path.read_bytes()
    head = json.loads(raw.partition(b"\n")[0])
    if damage == "byte":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(raw[:-5])
    elif damage == "none":
        path.unlink()
    else:
        head[damage] = "0" * 64 if damage == "model" else head["ids"][:-1]
        path.write_bytes(json.dumps(head).encode() + b"\n" + raw.partition(b"\n")[2])
    other = model.chat()
    assert "computed again" in str(saved.load(tmp_path / "talk.json", other))
    assert other.messages == chat.messages
    answer = other.send("And then?", **GREEDY)
    assert answer.read() == chat.send("And then?", **GREEDY).read()
    assert answer.stats.cached_tokens == 0


def test_another_models_and_damaged_conversations_are_refused(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    before = path.read_bytes()
    other = localmix.load(chatty_stories(tmp_path / "other.gguf", **{"general.name": "other"})).chat()
    with pytest.raises(LocalmixError, match="with another model"):
        saved.load(path, other)
    path.write_bytes(before[:-3])
    with pytest.raises(LocalmixError, match="damaged one; the file is left"):
        saved.load(path, chat)
    assert path.read_bytes() == before[:-3]


def test_turns_are_undone(model: Model) -> None:
    chat = model.chat()
    assert chat.undo() is None
    for text in ("one", "two"):
        chat.send(text, **GREEDY).read()
    assert chat.undo() == "two"
    assert [message.content for message in chat.messages][::2] == ["one"]
