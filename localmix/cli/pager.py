"""Text a screen at a time, by $PAGER or less; what fits on the screen, and what no pager can show, is just written."""

import os
import shlex
import shutil
import signal
import subprocess
import sys

from localmix.cli.streams import write


def paged(text: str) -> None:
    """Show text, which may have colours, in a terminal. `text` ends with a newline."""
    command = _pager()
    if not command or text.count("\n") < shutil.get_terminal_size().lines:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    environment = {"LESS": "FRX"} | dict(os.environ)  # colours pass; what fits needs no key; the text stays
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's
    try:
        subprocess.run(command, input=text.encode("utf-8", "replace"), env=environment, check=False)
    except OSError:
        write(text)
    finally:
        signal.signal(signal.SIGINT, before)


def _pager() -> list[str]:
    """The command; empty where there is none."""
    try:
        command = shlex.split(os.environ.get("PAGER", "less"))
    except ValueError:
        return []
    return command if command and shutil.which(command[0]) else []
