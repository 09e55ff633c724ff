import os
from pathlib import Path

import pytest

import localmix
from localmix.conversation import record as saved
from localmix.conversation import shelf as sessions
from localmix.conversation.chat import Chat
from localmix.errors import LocalmixError
from localmix.model import Model

GREEDY = {"temp": 0, "max_tokens": 4}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(sessions.FOLDER_VARIABLE, str(tmp_path))
    return tmp_path / "sessions"


@pytest.fixture
def model(chatty_path: Path) -> Model:
    return localmix.load(chatty_path)


def said(model: Model, *texts: str) -> Chat:
    chat = model.chat()
    for text in texts:
        chat.send(text, **GREEDY).read()
    return chat


def test_a_conversation_is_kept_from_its_first_turn(model: Model, state: Path) -> None:
    keeper, chat = sessions.Keeper(), model.chat()
    assert keeper.keep(chat) is None
    assert not state.exists()
    chat.send("Hello", **GREEDY).read()
    keeper.keep(chat)
    assert keeper.file == sessions.find()
    assert saved.read(sessions.find()).questions == ["Hello"]
    assert (
        oct(sessions.find().stat().st_mode)[-3:] == oct(saved.cache_path(sessions.find()).stat().st_mode)[-3:] == "600"
    )


def test_names_and_the_newest(model: Model) -> None:
    with pytest.raises(LocalmixError, match="no conversation to continue"):
        sessions.find()
    first, second = sessions.Keeper(), sessions.Keeper()
    first.keep(said(model, "one"))
    second.keep(said(model, "two"))
    assert second.file == sessions.find()
    first.rename("cats", said(model, "one"))
    assert sessions.names()[0] == "cats"
    assert len(sessions.names()) == 2  # the name given by time is gone
    first.rename("dogs", said(model, "one"))
    assert set(sessions.names()) > {"cats", "dogs"}  # a name given by hand is not
    with pytest.raises(LocalmixError, match="already exists"):
        second.rename("cats", said(model, "two"))
    with pytest.raises(LocalmixError, match="no conversation called birds: found dogs, "):
        sessions.find("birds")
    for bad in ("", ".x", "a\nb", "x" * 81):
        with pytest.raises(LocalmixError, match="expected a name"):
            sessions.path(bad)


def test_a_name_finds_its_file(state: Path, tmp_path: Path) -> None:
    assert sessions.name(state / "my cats.json") == "my cats"
    for elsewhere in (tmp_path / "my cats.json", state / "cats", tmp_path / "a" / "cats"):
        assert sessions.path(sessions.name(elsewhere)) == elsewhere


def test_other_files_in_the_folder_are_no_conversations(model: Model, state: Path, tmp_path: Path) -> None:
    keeper = sessions.Keeper()
    keeper.keep(said(model, "one"))
    (state / "a\x1bb.json").touch()
    (state / "gone.json").symlink_to(tmp_path / "nowhere")
    assert keeper.file is not None
    assert sessions.names() == [keeper.file.stem, "gone"]
    assert sessions.find() == keeper.file


def test_a_name_that_cannot_be_had_changes_nothing(model: Model, state: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keeper = sessions.Keeper()
    keeper.keep(said(model, "one"))
    before = keeper.file
    with pytest.raises(LocalmixError, match="cannot be saved"):
        keeper.rename(str(tmp_path / "file" / "x"), said(model, "one"))
    keeper.keep(said(model, "one", "two"))
    assert keeper.file == before
    assert saved.read(sessions.path(sessions.names()[0])).questions == ["one", "two"]


def test_two_programs_with_one_conversation_lose_nothing(model: Model) -> None:
    first = sessions.Keeper()
    first.keep(said(model, "one"))
    other = sessions.Keeper(first.file)
    other.keep(said(model, "one", "theirs"))
    line = first.keep(said(model, "one", "ours"))
    assert "changed by another program" in str(line)
    asked = [saved.read(sessions.path(name)).questions for name in sessions.names()]
    assert sorted(asked) == [["one", "ours"], ["one", "theirs"]]
    assert first.keep(said(model, "one", "ours", "more")) is None


def test_caches_are_limited_and_texts_are_not(model: Model, state: Path) -> None:
    keepers = [sessions.Keeper() for _ in range(3)]
    for second, keeper in enumerate(keepers):
        keeper.keep(said(model, "Hello"))
        assert keeper.file is not None
        os.utime(saved.cache_path(keeper.file), (second, second))
    newest = keepers[0].file
    assert newest is not None
    sessions.limit_caches(newest, saved.cache_path(newest).stat().st_size)
    assert len(list(state.glob("*.json"))) == 3
    assert {path.stem for path in state.glob("*.kv")} == {newest.stem, keepers[2].file.stem}  # type: ignore[union-attr]
