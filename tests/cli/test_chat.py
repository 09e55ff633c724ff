import json
from collections.abc import Callable
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_conversation_in_a_terminal(chatty_path: Path, terminal: Callable[..., Terminal], term: str) -> None:
    answer = localmix("chat", chatty_path, "--temp", 0, "-n", 8, stdin=b"Hello").stdout.strip()
    screen = terminal("chat", chatty_path, "--temp", 0, "-n", 8, TERM=term)
    prompt = "> " if term == "dumb" else PROMPT
    screen.until(prompt)
    for _ in range(2):
        screen.type("Hello\r")
        screen.until(answer)
        screen.until(prompt)
        screen.type("/reset\r")
        screen.until(prompt)
    screen.type("/?\r")
    screen.until("Ctrl-D leaves")
    screen.until(prompt)
    screen.type("\x04")
    assert screen.end() == 0
    assert "answer 16 tokens" in screen.seen
    if term == "dumb":
        assert "\x1b" not in screen.seen


def test_ctrl_c_ends_an_answer_and_a_second_one_the_program(
    chatty_path: Path, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("chat", chatty_path, "--backend", "reference", "--temp", 0)
    screen.until(PROMPT)
    screen.type("Hello\r")
    screen.until(" ")
    screen.type("\x03")
    screen.until(PROMPT)
    screen.type("\x03")
    assert screen.end() == 0
    assert "Traceback" not in screen.seen
    assert "localmix: reference" in screen.seen


def test_an_error_in_a_terminal_leaves_the_conversation(chatty_path: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal("chat", chatty_path, "-c", 40, "-n", 4, "--temp", 0)
    screen.until(PROMPT)
    screen.type("word " * 50 + "\r")
    screen.until("the context holds 40")
    screen.until(PROMPT)
    screen.type("Hi\r")
    screen.until(PROMPT)
    screen.type("/exit\r")
    assert screen.end() == 0
    assert "answer 4 tokens" in screen.seen
