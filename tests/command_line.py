"""Commands as a user runs them: in a process of their own, without or with a terminal."""

import fcntl
import multiprocessing
import os
import pty
import select
import subprocess
import sys
import tempfile
import termios
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

MAIN = [sys.executable, "-W", "error", "-c", "from localmix.cli import main; main()"]
ROOT = Path(__file__).parents[1]
SECONDS = 120  # a first run compiles, and the machine may be busy


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"} | changes


# Importing takes most of the time of a short command: it is done once, in a process that every command is a fork of.
FORKS = multiprocessing.get_context("forkserver")
READ_LATE = ("LOCALMIX_", "HF_")  # variables that nothing reads before a command is under way
FORKS.set_forkserver_preload(
    ["localmix.cli.app", "localmix.cli.prompts", "localmix.model", "localmix.backends.numba.backend"]
)


def localmix(*arguments: object, stdin: bytes | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal, in a changed environment. `stdin` None: nothing is piped in."""
    command = list(map(str, arguments))
    with ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.NamedTemporaryFile()) for _ in range(3))
        given.write(stdin or b"")
        given.flush()
        files = [os.devnull if stdin is None else given.name, out.name, err.name]
        forked = all(name.startswith(READ_LATE) for name in changes)
        code = (_forked if forked else _new)(command, files, environment(**changes))
        stdout, stderr = out.read().decode(), err.read().decode()
    return subprocess.CompletedProcess(command, code, stdout, stderr)


def _new(command: list[str], files: list[str], environment: dict[str, str]) -> int:
    with open(files[0], "rb") as stdin, open(files[1], "wb") as stdout, open(files[2], "wb") as stderr:
        return subprocess.run(
            [*MAIN, *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            timeout=SECONDS,
            check=False,
        ).returncode


def _forked(command: list[str], files: list[str], environment: dict[str, str]) -> int:
    process = FORKS.Process(target=_run, args=(command, files, environment, os.getcwd()))
    process.start()
    process.join(SECONDS)
    code = process.exitcode
    process.kill()
    assert code is not None, f"{command} has not ended in {SECONDS} s"
    return code


def _run(command: list[str], files: list[str], environment: dict[str, str], folder: str) -> None:
    """In the fork."""
    from localmix.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_WRONLY if number else os.O_RDONLY), number)
    sys.stdin, sys.stdout = os.fdopen(0, "r", encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    warnings.simplefilter("error")
    sys.argv = ["-c", *command]  # as Python names what MAIN runs
    main()


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, *arguments: object, size: tuple[int, int] = (80, 24), **changes: str) -> None:
        """`size`: columns and rows."""
        self._leader, follower = pty.openpty()
        self.resize(*size)
        self.seen = ""
        self.process = subprocess.Popen(
            [*MAIN, *map(str, arguments)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment(**changes),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(follower, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )
        os.close(follower)

    def resize(self, columns: int, rows: int) -> None:
        """As the user drags the window; the command is told."""
        termios.tcsetwinsize(self._leader, (rows, columns))

    def type(self, text: str) -> None:
        """Press keys; what was on the screen before is forgotten."""
        self.seen = ""
        os.write(self._leader, text.encode())

    def until(self, text: str, seconds: float = SECONDS) -> str:
        """Everything on the screen up to `text`, which is waited for."""
        return self._read(lambda: text in self.seen, seconds, f"no {text!r}").partition(text)[0]

    def end(self, seconds: float = SECONDS) -> int:
        """The exit code; everything written is in `seen`."""
        self._read(lambda: self.process.poll() is not None, seconds, "has not ended")
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def _read(self, done: Callable[[], bool], seconds: float, complaint: str) -> str:
        deadline = time.monotonic() + seconds
        while True:
            ended = done()
            received = self._receive(0 if ended else 0.05)
            if ended and not received:
                return self.seen
            assert time.monotonic() < deadline, f"{complaint}: {self.seen!r}"

    def _receive(self, seconds: float) -> bytes:
        """What the command writes next, if it does within some time."""
        ready, _, _ = select.select([self._leader], [], [], seconds)
        try:
            raw = os.read(self._leader, 65536) if ready else b""
        except OSError:  # Linux says so when the other side is closed
            raw = b""
        self.seen += raw.decode(errors="replace")
        return raw
