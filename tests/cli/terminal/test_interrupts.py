"""Ctrl-C and signals in a conversation: what was said is kept, the terminal is left as it was."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from screens import ASKED, READY, Screen

from localmix.conversation import record as saved

Start = Callable[..., Screen]


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
