"""Conversations that were kept: resumed, refused, damaged, written by others."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from screens import Screen, questions

from localmix.conversation import record as saved
from localmix.conversation import shelf as sessions

Start = Callable[..., Screen]


def keep_cats(screen: Start) -> None:
    """A conversation of one turn, saved by a name."""
    one = screen()
    one.say("One")
    one.say("/save cats")
    one.type("/quit\r")
    assert one.end() == 0


def test_a_kill_loses_at_most_the_turn_in_progress(screen: Start, tmp_path: Path) -> None:
    one = screen()
    one.say("One")
    one.say("Two")
    one.say("/set max-tokens none")
    one.type("Three\r")
    one.answering()
    one.process.kill()
    one.process.wait()
    assert questions(tmp_path) == ["One", "Two"]
    again = screen("--resume", model=None)
    again.see("2 turns so far, the last:")
    again.see("> Two")
    again.say("Three")
    again.say("/stats")
    assert re.search(r"last prompt  \d\d? tokens at .*, \d{2,} cached", again.text)


def test_resume_by_name_and_what_is_refused(screen: Start, tmp_path: Path, chatty_path: Path) -> None:
    keep_cats(screen)
    other = screen("--resume", "cats", model=chatty_path)
    assert other.end() == 1
    assert "conversationwithanothermodel" in "".join(other.text.split())
    path = tmp_path / "state" / "sessions" / "cats.json"
    path.write_text(path.read_text()[:-4])
    broken = screen("--resume", "cats")
    assert broken.end() == 1
    assert "thefilewasleftasitis" in "".join(broken.text.split())
    nobody = screen("--resume", "dogs")
    assert nobody.end() == 1
    assert "noconversationcalleddogs:foundcats" in "".join(nobody.text.split())


def test_what_cannot_be_kept_is_said_once(screen: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = screen(columns=200, LOCALMIX_STATE=str(tmp_path / "file"))
    one.say("One")
    one.say("Two")
    one.type("/quit\r")
    assert one.end() == 0
    said = "".join(one.text.split())
    assert said.count("theconversationcannotbesaved:Notadirectory") == 1
    assert said.count("thehistorycannotbesaved:") == 1
    assert "savedas" not in said


def test_what_others_wrote_reaches_the_terminal_harmless(screen: Start, tmp_path: Path, sparse_path: Path) -> None:
    keep_cats(screen)
    path = tmp_path / "state" / "sessions" / "cats.json"
    evil = r"# \u001b]0;title\u0007 \u001b]52;c;aGk=\u0007 \rover &#27;[2J `\u001b[1m`"
    answer = saved.read(path).messages[1].content
    text = path.read_text()
    assert answer in text
    path.write_text(text.replace(answer, evil))
    named = tmp_path / "a\x1b]0;title\x07.gguf"
    named.symlink_to(sparse_path)
    again = screen("--resume", "cats", model=named)
    again.say("/stats")
    again.say("/set stop \x1b]0;title\x07")
    assert "\x1b]" not in again.seen
    assert "[2J" not in again.seen.replace("␛[2J", "").replace("�[2J", "")
    assert "␛]52;c;aGk=␇ ␍over" in again.text


def test_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sessions.FOLDER_VARIABLE, str(tmp_path))
    assert sessions.path("cats").parent == tmp_path / "sessions"
