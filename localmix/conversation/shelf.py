"""The conversations that are kept: where they are, what they are called, and one kept up to date as it goes on.

They lie in one folder, a file each, the newest last written. A conversation that was not given a name is called by
the time at which it began.
"""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from localmix.conversation import record as saved
from localmix.conversation.chat import Chat
from localmix.errors import LocalmixError
from quant import folders

FOLDER_VARIABLE = "LOCALMIX_STATE"
CACHES = 8 << 30  # bytes of keys and values on disk in all; those of the oldest conversations go first
_BY_TIME = re.compile(r"\d{4}-\d\d-\d\d-\d{6}")
_NAME = re.compile(r"[\w.+ -]{1,80}")


def state() -> Path:
    """Where localmix keeps what it remembers: $LOCALMIX_STATE, or the platform's place."""
    return folders.folder(FOLDER_VARIABLE, "state")


def names() -> list[str]:
    """All kept conversations, the newest first."""
    files = (file for file in (state() / "sessions").glob("*.json") if _is_name(file.stem))
    return [file.stem for file in sorted(files, key=_changed, reverse=True)]


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and not text.startswith(".")


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # gone since it was listed
        return 0


def path(name: str) -> Path:
    """The file of a conversation called `name`; what has a slash or ends in .json is a file itself."""
    if "/" in name or name.endswith(".json"):
        return Path(os.path.expanduser(name))
    if not _is_name(name):
        raise LocalmixError(f"{name!r}: expected a name of letters, digits and - . + _ or spaces, or a path")
    return state() / "sessions" / f"{name}.json"


def name(file: Path) -> str:
    """What `path` finds a conversation's file by."""
    kept = file.suffix == ".json" and file.absolute().parent == (state() / "sessions").absolute()
    return file.stem if kept else str(file.absolute())


def find(name: str | None = None) -> Path:
    """The file of the conversation called `name`, or of the newest. LocalmixError: there is none."""
    known = names()
    if name is None:
        if not known:
            raise LocalmixError(f"no conversation to continue in {state() / 'sessions'}")
        return path(known[0])
    found = path(name)
    if not os.path.exists(found):
        some = f": found {', '.join(known[:8])}" if known else ", nor any other"
        raise LocalmixError(f"no conversation called {name}{some}")
    return found


def unused() -> Path:
    """A file for a conversation that begins now."""
    stem = time.strftime("%Y-%m-%d-%H%M%S")
    return next(p for i in range(10**6) if not (p := path(f"{stem}-{i}" if i else stem)).exists())


@dataclass
class Keeper:
    """Keeps one conversation on disk. Without a `file` it gets one with its first turn."""

    file: Path | None = None
    _seen: tuple[int, int] | None = field(default=None, init=False)  # the file as we left it

    def __post_init__(self) -> None:
        self._look()

    def keep(self, chat: Chat) -> str | None:
        """Save it, keys and values too; a line if the file had to be another one. LocalmixError: the disk."""
        if self.file is None:
            if not any(message.role == "user" for message in chat.messages):
                return None
            self.file = unused()
        said = None
        if os.path.exists(self.file) and self._stamp() != self._seen:
            taken, self.file = self.file, unused()
            said = f"{taken} was changed by another program: this conversation is saved as {self.file}"
        saved.save(self.file, chat)
        self._look()
        saved.save_cache(self.file, chat)
        limit_caches(self.file)
        return said

    def rename(self, name: str, chat: Chat) -> None:
        """Save it under a name. LocalmixError: another conversation has it."""
        file = path(name)
        if os.path.exists(file) and not (self.file and self.file.exists() and file.samefile(self.file)):
            raise LocalmixError(f"{file} already exists: choose another name, or /load it first")
        renamed = Keeper(file)
        renamed.keep(chat)  # before anything is given up: it may fail
        before, self.file, self._seen = self.file, renamed.file, renamed._seen
        if before is not None and before != file and _BY_TIME.match(before.name):
            before.unlink(missing_ok=True)  # the same conversation under the name it had before
            saved.cache_path(before).unlink(missing_ok=True)

    def _look(self) -> None:
        self._seen = self._stamp() if self.file is not None and os.path.exists(self.file) else None

    def _stamp(self) -> tuple[int, int]:
        assert self.file is not None
        found = self.file.stat()
        return found.st_mtime_ns, found.st_size


def limit_caches(newest: Path, limit: int = CACHES) -> None:
    """Delete the oldest keys and values beyond `limit` bytes, but never those of `newest`: texts stay."""
    files = sorted((state() / "sessions").glob("*.kv"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > limit and file != saved.cache_path(newest):
            file.unlink(missing_ok=True)
