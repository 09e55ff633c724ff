"""Files of compiled code: nothing in them is run before their length and digest are found right.

After a power cut or on a full disk a file may be empty, cut short or full of zeros, and mapping it would end the
process. A damaged file is deleted, so that what was in it is made again; a new one is written aside, synced and moved
into place, so that a file is there whole or not at all.
"""

import hashlib
import os
import struct
from contextlib import suppress
from pathlib import Path

_HEAD = struct.Struct("<8sQ32s")  # what it is, bytes that follow, their SHA-256
_MAGIC = b"lmixcode"


def read(path: Path) -> bytes | None:
    """What was written; None if it is not there, cannot be read, or is damaged: then it is deleted."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    content = opened(raw)
    if content is None:
        with suppress(OSError):
            path.unlink()
    return content


def opened(raw: bytes) -> bytes | None:
    """What `seal` was given; None: this is something else, or damaged."""
    content = raw[_HEAD.size :]
    return content if raw[: _HEAD.size] == _head(content) else None


def seal(content: bytes) -> bytes:
    """The bytes of a file of this content."""
    return _head(content) + content


def write(path: Path, content: bytes) -> None:
    """Replace what is there, whatever other processes do with it. OSError: the disk; then there is what was before."""
    aside = path.with_name(f"{path.name}.{os.urandom(4).hex()}.part")
    try:
        with aside.open("xb") as file:
            file.write(seal(content))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def _head(content: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, len(content), hashlib.sha256(content).digest())
