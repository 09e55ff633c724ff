"""What is typed in a conversation: lines, pastes, history, completion."""

from collections.abc import Callable
from pathlib import Path

from screens import Screen, questions

Start = Callable[..., Screen]
PASTE = "\x1b[200~{}\x1b[201~"


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
