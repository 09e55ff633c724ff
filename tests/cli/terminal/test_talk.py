"""Whole conversations in a terminal, by what its screen shows."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from screens import ASKED, READY, Screen
from small_models import DATA

from localmix.conversation import record as saved
from localmix.conversation import shelf as sessions

Start = Callable[..., Screen]
PASTE = "\x1b[200~{}\x1b[201~"


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


def questions(folder: Path) -> list[str]:
    """Those of the newest conversation that was kept."""
    names = sorted((folder / "state" / "sessions").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return saved.read(names[-1]).questions


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


def test_500_lines_arrive_whole(screen: Start, tmp_path: Path) -> None:
    lines = "\n".join(f"{i}\tx='{i % 7}' \\ #" for i in range(500))
    one = screen()
    one.ready()
    one.type(PASTE.format(lines.replace("\n", "\r")))
    one.see("499^Ix=")
    one.type("\r")
    one.wait(lambda: one.cursor_line == ">" and (tmp_path / "state" / "sessions").exists())
    assert questions(tmp_path) == [lines]
    one.type("\x04")
    assert one.end() == 0
    assert one.sane()


def test_several_lines(screen: Start, tmp_path: Path) -> None:
    one = screen()
    one.ready()
    one.type("a\x1b\rb\\\rc")
    one.see("  c")
    one.type("\r")
    one.wait(lambda: (tmp_path / "state" / "sessions").exists())
    one.ready()
    assert questions(tmp_path) == ["a\nb\nc"]


def test_history_is_kept_from_one_program_to_the_next(screen: Start, tmp_path: Path) -> None:
    one = screen()
    one.say("first\x1b\rsecond line")
    one.type("\x04")
    assert one.end() == 0
    assert oct((tmp_path / "state" / "history").stat().st_mode)[-3:] == "600"
    two = screen("--private")
    two.say("not kept")
    two.type("\x04")
    assert two.end() == 0
    three = screen()
    three.ready()
    three.type("\x1b[A")
    three.see("second line")
    assert "not kept" not in three.text
    assert len(list((tmp_path / "state" / "sessions").glob("*.json"))) == 1


def test_completion(screen: Start, tmp_path: Path) -> None:
    (tmp_path / "a long name.txt").write_text("text")
    one = screen()
    one.ready()
    one.type("/ex")
    one.see(" experts")
    one.type("\t")
    one.wait(lambda: one.cursor_line == "> /experts")
    one.type("\x15/set min")
    one.see(" min_p")
    one.type("\t")
    one.wait(lambda: one.cursor_line == "> /set min_p")
    one.type(f"\x15/file {tmp_path}/a lo")
    one.wait(lambda: one.text.count("a long name.txt") == 1)
    one.type("\t")
    one.wait(lambda: "a long name.txt" in one.cursor_line)
    one.type("\r")
    one.see("sent with the next message")
    one.see("1 file added")


def test_ctrl_c_while_typing_clears_and_twice_leaves(screen: Start) -> None:
    one = screen()
    one.ready()
    one.type("something")
    one.see("something")
    one.type("\x03")
    one.ready()
    one.type("\x03")
    one.see("press Ctrl-C again to quit")
    one.say("/set")  # it was not again
    one.type("\x03")
    one.wait(lambda: one.text.count("press Ctrl-C again to quit") == 2)
    one.ready()
    one.type("\x03")
    assert one.end() == 0
    assert one.sane()


def test_ctrl_c_during_an_answer_keeps_it(screen: Start, tmp_path: Path) -> None:
    one = screen("-n", 20_000)
    one.ready()
    one.type("Hello\r")
    one.answering()
    one.type("typed ahead\x03")
    one.see("interrupted")
    one.wait(lambda: one.cursor_line == "> typed ahead")
    conversation = saved.read(next((tmp_path / "state" / "sessions").glob("*.json")))
    shown = " ".join(one.text.partition("> Hello")[2].partition("interrupted")[0].split())
    assert " ".join(conversation.messages[1].content.split()) == shown
    one.type("\x15\x03\x03")
    assert one.end() == 0
    assert one.sane()


def test_ctrl_c_while_a_prompt_is_read(screen: Start, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 6_000)
    one = screen("--backend", "reference")
    one.say(f"/file {tmp_path}/long.txt")
    one.type("Read it\r")
    one.wait(lambda: re.search(r"reading [\d,]+ of [\d,]+ tokens .* left", one.text) is not None)
    one.type("\x03")
    begun = time.monotonic()
    one.see("interrupted")
    one.ready()
    assert time.monotonic() - begun < 3
    assert "reading" not in one.text  # the bar is gone
    assert not (tmp_path / "state" / "sessions").exists()  # a question without an answer is no turn
    one.type("\x03")
    assert one.end() == 0
    assert one.sane()


def test_ctrl_c_at_any_moment_leaves_the_terminal_sane(screen: Start) -> None:
    one = screen("-n", 300)
    one.ready()
    for pause in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
        one.type("Hello\r")
        one.wait(lambda: ASKED in one.seen)
        time.sleep(pause)
        one.type("\x03")
        one.wait(lambda: READY in one.seen and one.cursor_line == ">")
        one.say("/set temp 0")
    assert "Traceback" not in one.text
    one.type("\x04")
    assert one.end() == 0
    assert one.sane()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_sane(screen: Start, number: signal.Signals) -> None:
    one = screen("-n", 20_000)
    one.ready()
    one.type("Hello\r")
    one.answering()
    os.kill(one.process.pid, number)
    if number == signal.SIGINT:
        one.see("interrupted")
        os.kill(one.process.pid, signal.SIGTERM)  # at the prompt
        number = signal.SIGTERM
    assert one.end() == 128 + number
    assert one.sane()


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


def test_resume_by_name_and_what_is_refused(screen: Start, tmp_path: Path, chatty_path: Path) -> None:
    one = screen()
    one.say("One")
    one.say("/save cats")
    one.type("/quit\r")
    assert one.end() == 0
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


def test_what_others_wrote_reaches_the_terminal_harmless(screen: Start, tmp_path: Path, sparse_path: Path) -> None:
    one = screen()
    one.say("One")
    one.say("/save cats")
    one.type("/quit\r")
    assert one.end() == 0
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
