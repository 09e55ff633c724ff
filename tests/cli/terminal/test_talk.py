"""Whole conversations in a terminal, by what its screen shows."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from screens import Screen, questions
from small_models import DATA

Start = Callable[..., Screen]


def masked(screen: Screen, folder: Path) -> str:
    """The screen without what differs from one machine or time to the next."""
    text = screen.text
    for pattern, instead in (
        (r"\S*sparse\.gguf", "MODEL"),
        (re.escape(str(folder)), "FOLDER"),
        (r"\d{4}-\d\d-\d\d-\d{6}", "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME"),
        (r"[\d.]+ t/s", "SPEED"),
        (r"seed \d+", "SEED"),
        (r"(?m)^(computed by  ).*", r"\1MACHINE"),
    ):
        text = re.sub(pattern, instead, text)
    return text + "\n"


def test_every_command(screen: Start, tmp_path: Path, sparse_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("First line\nsecond\n")
    (tmp_path / "data.bin").write_bytes(b"\xff\xfe\x00")
    one = screen("--backend", "reference", columns=250, rows=50)
    for line in (
        "Hello", "/help", "/stats", "/experts", "/set top-p 0.5", "/set temp hot", "/set temp 101", "/set tmp 1",
        "/helo", "/system", "/system Be brief.", "/system", "/system off", "/regen", "/undo", "/undo", "/regen",
        "One", "Two", "/edit Three", "/save cats", f"/file {tmp_path}/notes.txt", f"/file {tmp_path}/data.bin",
        "/file nowhere", "/file", "Read it", "/clear", "/load", "/load dogs", "/load cats", f"/model {sparse_path}",
        "/model nowhere.gguf", "Still there", " /not a command", "/what",
    ):  # fmt: skip
        one.say(line)
    one.wait(lambda: one.text.endswith(" t/s"))  # the line of status is drawn after the cursor is where one types
    expected = DATA / "screens" / "every-command.txt"
    found = masked(one, tmp_path)
    if os.environ.get("LOCALMIX_UPDATE_SCREENS"):
        expected.write_text(found)
    assert found == expected.read_text()
    one.type("/quit\r")
    assert one.end() == 0
    assert one.sane()
    assert questions(tmp_path)[0:2] == ["One", "Three"]
    assert questions(tmp_path)[2] == "notes.txt:\n```\nFirst line\nsecond\n```\n\nRead it"
    assert questions(tmp_path)[3:] == ["Still there", "/not a command"]


def test_whatever_follows_a_command_the_conversation_goes_on(screen: Start, tmp_path: Path) -> None:
    long = "x" * 256
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    one = screen(columns=330, rows=10)
    for line, said in (
        ("/set stop é\\n\\x", r"stop  'é\n\\x'"),
        ("/set stop", r"stop  'é\n\\x'"),
        ("/set stop off", "stop  none"),
        (f'/set json_schema {{"{long}": 1}}', "json_schema  {"),
        ("/set json_schema none", "json_schema  none"),
        ("/set json_schema nowhere.json", "nowhere.json: cannot be read as text: No such file"),
        (f"/set json_schema {tmp_path}/bad.txt", "cannot be read as text: 'utf-8' codec"),
        ("/set grammar root ::= (", "grammar: "),
        ("/set json_schema", "json_schema  none"),
        ("/file ~nosuchuser/x", "~nosuchuser/x: cannot be read"),
        (f"/file {long}", "File name too long"),
        ("/file /dev/zero", "/dev/zero: not a file"),
        ("/load ~nosuchuser/x", "no conversation called ~nosuchuser/x"),
        (f"/load x/{long}", "no conversation called x/xxx"),
        ("/model ~nosuchuser/x", "~nosuchuser/x: no such file"),
        (f"/model {long}", "File name too long"),
        ("Hello", ""),
        (f"/save {tmp_path}/bad.txt/x", "cannot be saved"),
        ("/regen", ""),
        ("/stats", str(tmp_path / "state" / "sessions")),
        (f"/save {tmp_path}/my cats", f"saved: {tmp_path}/my cats"),
    ):
        one.say(line)
        assert said in one.text.rpartition(f"> {line[:60]}")[2]
    one.type("/quit\r")
    assert one.end() == 0
    assert f"localmix chat --resume '{tmp_path}/my cats'" in one.text


def test_a_file_that_is_far_too_long_is_not_read(screen: Start, tmp_path: Path) -> None:
    with (tmp_path / "huge.log").open("wb") as file:
        file.truncate(1 << 40)
    one = screen()
    one.say(f"/file {tmp_path}/huge.log")
    one.see("too many for a context of")


def test_a_window_that_changes(screen: Start) -> None:
    one = screen("-n", 200, columns=60, rows=15)
    one.ready()
    one.type("Hello\r")
    one.answering()
    for columns, rows in ((40, 10), (90, 30), (20, 6)):
        one.resize(columns, rows)
    one.ready()
    one.resize(70, 20)
    one.say("/help")
    one.see("/quit")  # what is asked is drawn once more for the new size, which may have come first
    one.ready()
    assert one.text.count("/quit") == 1
    one.type("\x04")
    assert one.end() == 0
    assert one.sane()


def test_a_full_context_is_said(screen: Start) -> None:
    one = screen("-c", 64)
    one.say("Hello")
    one.say("word " * 20)
    one.see("--when-full drop or shift")
    two = screen("-c", 64, "--when-full", "drop")
    for _ in range(4):
        two.say("Hello again")
    two.see("the oldest turn is left out")


@pytest.mark.parametrize(
    "changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "latin-1"}, {"COLORFGBG": "0;15"}]
)
def test_themes(screen: Start, tmp_path: Path, changes: dict[str, str]) -> None:
    """A Markdown answer and the experts' picture are read in each, also where it is narrow."""
    one = screen(columns=44, **changes)
    one.ready()
    one.type("Hello\r")
    one.see("\n\n>")
    one.type("/experts\r")
    one.see("busiest: expert")
    one.type("/nonsense\r")
    one.see("/help lists all")
    seen = one.seen
    one.type("/quit\r")
    assert one.end() == 0
    assert one.sane()
    colours = re.search(r"\x1b\[[\d;]*\b3[0-7]m", seen)
    assert (colours is None) == ("NO_COLOR" in changes or "TERM" in changes)
    assert ("\x1b" in seen) == ("TERM" not in changes)
    assert all(len(line) <= 44 for line in one.lines)
    assert ("▒" in one.text) == ("PYTHONIOENCODING" not in changes)
