import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import MAIN, Terminal, environment, localmix
from small_models import DATA, STORIES, chatty_stories, escaping_stories

STORY = (DATA / "stories260K" / "stories260K.greedy200.expected.txt").read_text()
GREEDY = ("run", "-m", STORIES, "--raw", "--temp", 0)
LONG = 30_000  # tokens; seconds on any machine
SOON = 8  # seconds: at once for a hand, several where other tests keep the cores busy


@pytest.fixture(scope="module")
def long_path(folder: Path) -> Path:
    """A model with room for LONG tokens."""
    return chatty_stories(folder / "long.gguf", **{"llama.context_length": np.uint32(LONG)})


def test_stdout_is_the_text_and_stderr_says_how(backend: str) -> None:
    done = localmix(*GREEDY, "", "-n", 60, "--backend", backend)
    assert done.returncode == 0
    assert done.stdout.endswith("\n")
    assert STORY.startswith(done.stdout[:-1])
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"localmix: {backend}, ")
    assert "thread" in line
    assert "prompt 1 tokens at " in line
    assert "answer 60 tokens at " in line


def test_an_answer_cut_off_by_the_context_is_said_to_be() -> None:
    done = localmix(*GREEDY, "One day", "-c", 16)
    assert done.returncode == 0
    assert "localmix: the context of 16 tokens is full: the answer is cut off\n" in done.stderr
    assert "is full" not in localmix(*GREEDY, "One day", "-n", 5).stderr


def test_quiet() -> None:
    assert localmix(*GREEDY, "", "-n", 3, "-q", "--backend", "reference").stderr == ""


def test_stdin_comes_after_the_prompt(chatty_path: Path) -> None:
    whole = localmix(*GREEDY, "One day\nLily", "-n", 20).stdout
    assert localmix(*GREEDY, "One day", "-n", 20, stdin=b"Lily\n").stdout == whole
    assert localmix(*GREEDY, "-n", 20, stdin=b"One day\nLily\n").stdout == whole
    assert localmix("run", "-m", chatty_path, "-n", 3, stdin=b"hi").returncode == 0


def test_template_and_system(folder: Path) -> None:
    template = "{% for m in messages %}{{ m.role + ':' + m.content }}{% endfor %}"
    path = chatty_stories(folder / "roles.gguf", template)
    options = ("--temp", 0, "-n", 12)
    plain = localmix(*GREEDY[:3], "--raw", "system:Aauser:B", *options).stdout
    assert localmix("run", "-m", path, "--system", "Aa", "B", *options).stdout.strip() == plain.strip()
    refusing = chatty_stories(folder / "refusing.gguf", "{{ raise_exception('no system prompts') }}")
    refused = localmix("run", "-m", refusing, "--system", "Aa", "B")
    assert refused.returncode == 1
    assert "no system prompts" in refused.stderr.splitlines()[-1]


def test_json() -> None:
    done = localmix(*GREEDY, "One day", "-n", 5, "--json", "--seed", 3)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["text"] == localmix(*GREEDY, "One day", "-n", 5).stdout[:-1]
    assert (found["reason"], found["tokens"], found["seed"], found["model"]) == ("length", 5, 3, str(STORIES))


def test_same_seed_same_text_on_any_number_of_threads() -> None:
    texts = {
        localmix(*GREEDY[:4], "One day", "--temp", 1.5, "-n", 40, "--seed", 1, "-t", threads).stdout
        for threads in (1, 3)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("run", "-m", STORIES), None, "no prompt"),
        (("run", "-m", STORIES, " "), None, "the prompt is empty"),
        (("run", "-m", STORIES, "hi"), None, "no chat template"),
        (("run", "-m", STORIES, "--raw", "--system", "x", "hi"), None, "--system with --raw"),
        (("run", "-m", STORIES, "--raw"), b"a\xff", "byte 0xff at 1, expected UTF-8"),
        (("run", "-m", STORIES, "--raw", "hi", "--top-p", "2"), None, "top_p = 2.0: expected 0 to 1"),
        (("run", "-m", STORIES, "--raw", "hi", "--backend", "gpu"), None, "unknown backend 'gpu'"),
        (("run", "-m", STORIES, "--raw", "--stop", "", "hi"), None, "stop"),
        (("run", "-m", STORIES, "--raw", "-c", "8"), b"word " * 50, "tokens, the context holds 8"),
        (("run", "-m", STORIES, "--raw", "hi", "-c", "513"), None, "513 tokens: expected 1 to 512"),
        (("run", "-m", "/", "hi"), None, "folder"),
    ],
)
def test_errors_are_one_line(arguments: tuple[object, ...], stdin: bytes | None, message: str) -> None:
    done = localmix(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    command = [*MAIN, *map(str, GREEDY), "", "--backend", "reference"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == STORY[:10].encode()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGPIPE
    assert errors == b""


def test_control_characters_do_not_reach_a_terminal(folder: Path, terminal: Callable[..., Terminal]) -> None:
    arguments = ("run", "-m", escaping_stories(folder / "escaping.gguf"), "--raw", "", "-n", 5, "--temp", 0)
    assert set(localmix(*arguments).stdout) <= {"\x1b", "\x1c", "\n"}
    screen = terminal(*arguments)
    assert screen.end() == 0
    assert "\x1b" not in screen.seen
    assert "␛" in screen.seen or "␜" in screen.seen


def test_ctrl_c_ends_an_answer(chatty_path: Path, terminal: Callable[..., Terminal], backend: str) -> None:
    screen = terminal("run", "-m", chatty_path, "hi", "--temp", 0, "--backend", backend, "--stop", "never")
    screen.until(" ")
    screen.type("\x03")
    start = time.monotonic()
    assert screen.end() in (0, 130)  # 0: it was faster than the hand
    assert time.monotonic() - start < SOON
    assert "Traceback" not in screen.seen


def test_ctrl_c_ends_a_long_prompt(
    folder: Path, long_path: Path, terminal: Callable[..., Terminal], backend: str
) -> None:
    text = "word " * (LONG // 5)
    screen = terminal("run", "-m", long_path, "--raw", text, "--backend", backend)
    screen.until("prompt: 512 of")
    start = time.monotonic()
    screen.type("\x03")
    assert screen.end() == 130
    assert time.monotonic() - start < SOON
    assert "Traceback" not in screen.seen
    assert f"localmix: {backend}" in screen.seen


def test_a_dumb_terminal_sees_no_escape_codes(long_path: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal("run", "-m", long_path, "--raw", "word " * 600, "-n", 2, TERM="dumb")
    assert screen.end() == 0
    assert "\x1b" not in screen.seen
