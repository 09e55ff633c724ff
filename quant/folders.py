"""Where the program keeps files: where the environment says, else the platform's place, else a temporary folder.

A container with a made-up user id has no home folder, or one that nobody may write in: none of that may end a
program, so nothing here raises.
"""

import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

CACHE_VARIABLE = "LOCALMIX_CACHE_DIR"
Kind = Literal["cache", "data", "state"]
_NOWHERE = Path(os.devnull) / "localmix"  # where nothing is and nothing can be made


def folder(variable: str, kind: Kind, below: str = "") -> Path:
    """Where files of a kind lie: `variable` names the folder, else it is `below` the platform's. It need not exist."""
    if given := os.environ.get(variable):
        return Path(os.path.expanduser(given))
    usual = _platform_folder(kind)
    if usual is not None and (_writable(usual) or (kind != "cache" and os.path.isdir(usual))):
        return usual / below
    return _temporary() / kind / below


def cached() -> Path:
    """Where lies what can be computed again."""
    return folder(CACHE_VARIABLE, "cache")


@cache
def warn_uncached(reason: str) -> None:
    """Say that compiled code is not kept, once for each reason."""
    note = f"localmix: kernels are compiled anew in each run ({reason}); set {CACHE_VARIABLE} to a writable folder"
    print(note, file=sys.stderr)


def _platform_folder(kind: Kind) -> Path | None:
    """The platform's place for files of a kind; None where it depends on a home folder and there is none."""
    import platformdirs

    find = {
        "cache": platformdirs.user_cache_dir,
        "data": platformdirs.user_data_dir,
        "state": platformdirs.user_state_dir,
    }[kind]
    try:
        found = Path(os.path.expanduser(find("localmix")))
    except RuntimeError:
        return None
    return found if found.is_absolute() else None


def _writable(path: Path) -> bool:
    """Whether files can be written there, in a folder that is there or can be made."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


@cache
def _temporary() -> Path:
    """A folder that is this user's alone: code that is found in it is run."""
    try:
        path = Path(tempfile.gettempdir()) / f"localmix-{os.getuid()}"
        try:
            path.mkdir(mode=0o700)
            print(f"localmix: no writable home folder: files are kept in {path}", file=sys.stderr)
        except FileExistsError:
            pass
        status = path.lstat()
    except OSError:
        return _NOWHERE
    others = stat.S_IWGRP | stat.S_IWOTH
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & others
    return path if own else _NOWHERE
