"""stdout carries the product, stderr everything else; a closed pipe ends the program quietly.

What stdout cannot encode is written as an escape, in JSON as JSON has them, and said to be: nothing is lost.

What a model writes to a terminal is made harmless first: control characters would move the cursor, rename the
window or type commands.
"""

import codecs
import json
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, Literal, TextIO

import typer

from localmix.errors import LocalmixError

_SHORT = 64  # tokens of a prompt that need no progress
_PATIENCE = 0.3  # seconds that stdin may say nothing before the user is told what is waited for
_CLOSED_PIPE = 128 + 13  # as a program that SIGPIPE ended
# Control characters but newline and tab, as the pictures that Unicode has of them.
_CONTROL = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
_CONTROL |= dict.fromkeys((0x7F, *range(0x80, 0xA0)), 0x2421)
# What writes text backwards, so that it reads other than it is (CVE-2021-42574).
_CONTROL |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)


def harmless(text: str) -> str:
    """`text` with visible symbols in the place of control characters, and of what the terminal cannot write."""
    encoding = _encoding()
    return text.translate(_CONTROL).encode(encoding, "backslashreplace").decode(encoding)


def opened() -> None:
    """Streams that the caller has closed: stdin is empty and stderr goes nowhere. LocalmixError: stdout is.

    They take the numbers of the closed ones, so that no file opened later does.
    """
    if sys.stdin is None:
        sys.stdin = _nowhere("r")
    if sys.stdout is None:
        sys.stdout = _nowhere("w")
        raise LocalmixError("stdout is closed: expected somewhere to write to, such as > /dev/null")
    if sys.stderr is None:
        sys.stderr = _nowhere("w")


def tolerant() -> Callable[[], None]:
    """What a stream cannot encode is written as an escape; the function that is returned says so if it was."""
    escaped: list[str] = []

    def escape(error: UnicodeError) -> tuple[str | bytes, int]:
        escaped.append(_encoding())
        return codecs.backslashreplace_errors(error)

    def tell() -> None:
        if escaped:
            with suppress(OSError):
                sys.stderr.write(
                    f"localmix: stdout is {escaped[0]}: other characters were written as escapes such as \\xe9: "
                    "set PYTHONIOENCODING=utf-8, or use --json\n"
                )

    codecs.register_error("localmix", escape)
    for stream, errors in ((sys.stdout, "localmix"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
    return tell


def _encoding() -> str:
    return sys.stdout.encoding or "ascii"


def _nowhere(mode: Literal["r", "w"]) -> TextIO:
    """As Python opens the standard streams: the descriptor is not closed with the object."""
    return open(os.open(os.devnull, os.O_RDWR), mode, closefd=False)


def received(remark: str) -> bytes:
    """All of stdin, up to its end. `remark` is said, once, if for a moment nothing comes."""
    parts: list[bytes] = []
    patience: float | None = _PATIENCE
    while True:
        if not select.select([sys.stdin], [], [], patience)[0]:
            note(remark)
            patience = None
        elif part := os.read(sys.stdin.fileno(), 1 << 16):
            parts.append(part)
        else:
            return b"".join(parts)


def argument(text: str) -> str:
    """Text of the command line, which is UTF-8 whatever the locale. LocalmixError: it is not."""
    try:
        return os.fsencode(text).decode() if any("\ud800" <= char <= "\udfff" for char in text) else text
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise LocalmixError(f"{harmless(text)}: found {found}, expected UTF-8 text: is the locale right?") from None


def decoded(raw: bytes) -> str:
    """Bytes of stdin as text, without the newline at the end."""
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise LocalmixError(f"stdin: found {found}, expected UTF-8 text: convert it, for example with iconv") from None


def write(text: str) -> None:
    """A piece of the product."""
    _put(sys.stdout, harmless(text) if sys.stdout.isatty() else text)


def json_text(value: Any, *, indent: int | None = None, encoding: str | None = None) -> str:
    """JSON and a newline, with letters as they are if all can be encoded (for stdout by default), else as escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(encoding or _encoding())
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    return text + "\n"


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
        _divert(stream)
        raise typer.Exit(_CLOSED_PIPE) from None
    except OSError as error:
        _divert(stream)
        if stream is sys.stdout:  # else there is nowhere to say so, and the product is not concerned
            raise LocalmixError(f"stdout: cannot be written: {error.strerror}") from None


def _divert(stream: TextIO) -> None:
    """What is left goes nowhere: Python would complain once it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
