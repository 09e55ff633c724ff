import json
from collections.abc import Callable
from pathlib import Path

from command_line import Terminal, localmix
from small_models import STORIES

PROMPT = "\x1b[?2004h"  # what prompt_toolkit writes when it is ready for a line


def test_each_line_of_stdin_is_answered(chatty_path: Path) -> None:
    done = localmix("chat", chatty_path, "--temp", 0, "-n", 8, "--json", stdin=b"Hello\n\nAnd then?\nWhy?")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(answers)) == (0, 3)
    assert [bool(answer["cached_tokens"]) for answer in answers] == [False, True, True]
    plain = localmix("chat", "-m", chatty_path, "--temp", 0, "-n", 8, stdin=b"Hello\nAnd then?\nWhy?\n")
    assert plain.stdout == "".join(answer["text"] + "\n" for answer in answers)
    line = plain.stderr.splitlines()[-1]
    assert f"prompt {sum(answer['prompt_tokens'] for answer in answers)} tokens" in line
    assert "answer 24 tokens" in line


def test_errors(chatty_path: Path) -> None:
    for arguments, message in (
        ((chatty_path, "-m", STORIES), "two models"),
        ((STORIES,), "no chat template"),
        ((chatty_path, "-c", 8), "the context holds 8"),
    ):
        done = localmix("chat", *arguments, stdin=b"Hello there\n")
        assert (done.returncode, done.stdout) == (1, "")
        assert message in done.stderr.splitlines()[-1]


def test_an_error_in_a_terminal_leaves_the_conversation(chatty_path: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal("chat", chatty_path, "-c", 40, "-n", 4, "--temp", 0)
    screen.until(PROMPT)
    screen.type("word " * 50 + "\r")
    screen.until("the context holds 40")
    screen.until(PROMPT)
    screen.type("Hi\r")
    screen.until(PROMPT)
    screen.type("/quit\r")
    assert screen.end() == 0
    assert "answer 4 tokens" in screen.seen
