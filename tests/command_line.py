"""Commands as a user runs them: in a process of their own, with pipes or a terminal."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

MAIN = [sys.executable, "-W", "error", "-c", "from localmix.cli import main; main()"]
ROOT = Path(__file__).parents[1]
SECONDS = 120  # a first run compiles, and the machine may be busy


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"} | changes


def localmix(*arguments: object, stdin: bytes | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command with pipes. `stdin` None: nothing is piped in."""
    done = subprocess.run(
        [*MAIN, *map(str, arguments)],
        stdin=subprocess.DEVNULL if stdin is None else None,
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        env=environment(**changes),
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


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
