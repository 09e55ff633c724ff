"""Standard streams that are closed, full, or from another system."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from command_line import MAIN, SECONDS, environment, localmix
from small_models import STORIES

RUN = ("run", "-m", STORIES, "--raw", "One day", "-n", 3, "--temp", 0, "--backend", "reference")


def redirected(how: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command as a shell starts it with `how` behind it."""
    line = f"{shlex.join([*MAIN, *map(str, arguments)])} {how}"
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=SECONDS, env=environment(), check=False
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [RUN, (*RUN, "--json"), ("info", STORIES)])
def test_a_full_disk_is_one_line(arguments: tuple[object, ...]) -> None:
    done = redirected("> /dev/full", *arguments, *(["-q"] if arguments[0] == "run" else []))
    assert (done.returncode, done.stderr) == (1, "localmix: stdout: cannot be written: No space left on device\n")


def test_a_closed_stdout_is_one_line() -> None:
    done = redirected(">&-", *RUN)
    assert done.returncode == 1
    assert done.stderr.startswith("localmix: stdout is closed")
    assert done.stderr.count("\n") == 1


def test_a_closed_stdin_is_an_empty_one(chatty_path: Path) -> None:
    assert redirected("<&-", *RUN).stdout == localmix(*RUN).stdout
    done = redirected("<&-", "chat", chatty_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_without_stderr_there_is_only_the_answer() -> None:
    done = redirected("2>&-", *RUN)
    assert (done.returncode, done.stdout, done.stderr) == (0, localmix(*RUN).stdout, "")


def test_lines_from_windows_are_the_same_lines(chatty_path: Path) -> None:
    def answers(stdin: bytes) -> list[str]:
        options = ("--temp", 0, "-n", 5, "--json", "--backend", "reference")
        return [
            json.loads(line)["text"]
            for line in localmix("chat", chatty_path, *options, stdin=stdin).stdout.splitlines()
        ]

    assert answers(b"Hello\r\nWhy?\r\n") == answers(b"Hello\nWhy?\n")
    assert len(answers(b"\r\n\r\nHello")) == 1
