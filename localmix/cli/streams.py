"""stdout carries the product, stderr everything else; a closed pipe ends the program quietly.

What a model writes to a terminal is made harmless first: control characters would move the cursor, rename the
window or type commands.
"""

import os
import sys
from typing import NoReturn, TextIO

import typer

from localmix.errors import LocalmixError

_SHORT = 64  # tokens of a prompt that need no progress
_CLOSED_PIPE = 128 + 13  # as a program that SIGPIPE ended
# Control characters but newline and tab, as the pictures that Unicode has of them.
_CONTROL = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
_CONTROL |= dict.fromkeys((0x7F, *range(0x80, 0xA0)), 0x2421)
# What writes text backwards, so that it reads other than it is (CVE-2021-42574).
_CONTROL |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)


def harmless(text: str) -> str:
    """`text` with visible symbols in the place of control characters."""
    return text.translate(_CONTROL)


def decoded(raw: bytes) -> str:
    """Bytes of stdin as text, without the newline at the end."""
    try:
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise LocalmixError(f"stdin: found {found}, expected UTF-8 text: convert it, for example with iconv") from None


def write(text: str) -> None:
    """A piece of the product."""
    _put(sys.stdout, harmless(text) if sys.stdout.isatty() else text)


def note(text: str) -> None:
    """A line about the product."""
    _put(sys.stderr, harmless(text) + "\n")


def draw(stream: TextIO, text: str) -> None:
    """Text that may move the cursor: what a model wrote was made harmless before."""
    _put(stream, text)


def prompt_progress(done: int, total: int) -> None:
    """How much of a prompt is read."""
    if total >= _SHORT:
        overwrite(f"prompt: {done} of {total} tokens" if done < total else "")


def overwrite(text: str) -> None:
    """A line on stderr in the place of the one before, on a terminal that can do that."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        _put(sys.stderr, f"\r\x1b[K{harmless(text)}")


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _leave(stream)


def _leave(stream: TextIO) -> NoReturn:
    """Nobody reads any more. Python would complain once it flushes at exit: let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise typer.Exit(_CLOSED_PIPE)
