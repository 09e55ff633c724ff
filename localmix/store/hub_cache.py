"""Folders of the hub's own cache: models--OWNER--NAME/snapshots/COMMIT, where no part is what people call the model."""

import os
import re
from pathlib import Path

_REPOSITORY = re.compile(r"models--(?:.+--)?(.+)")
_COMMITS = "snapshots"


def title(path: Path) -> str:
    """What the model in a folder or file is called. Links are not followed: those of the cache lead to hashes."""
    path = Path(os.path.abspath(path))
    commit = path if path.parent.name == _COMMITS else None
    found = _REPOSITORY.fullmatch(commit.parent.parent.name if commit else path.name)
    return found[1] if found else path.name


def snapshot(path: Path) -> Path:
    """The folder with the files where `path` is a repository's, and the commit is clear; else `path` as it is."""
    commits = path / _COMMITS
    if not _REPOSITORY.fullmatch(Path(os.path.abspath(path)).name) or not commits.is_dir():
        return path
    try:
        main = commits / (path / "refs" / "main").read_text().strip()
    except OSError:
        main = commits
    inside = [main] if main != commits and main.is_dir() else sorted(commits.iterdir())
    return inside[0] if len(inside) == 1 else path
