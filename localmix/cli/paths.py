"""Paths as people read them: the home folder as ~, and what does not fit cut out of the middle."""

import os
from pathlib import Path

_CUT = "..."


def shortened(path: str | Path, columns: int) -> str:
    """A path in at most `columns` characters: folders in the middle go first, the file's name is cut last."""
    text, home = str(path), os.path.expanduser("~")
    if len(home) > 1 and text.startswith(home + os.sep):
        text = "~" + text[len(home) :]
    if len(text) <= columns:
        return text
    head, *folders, name = text.split(os.sep) if os.sep in text else ("", text)
    tail = name
    for folder in reversed(folders):
        longer = f"{folder}{os.sep}{tail}"
        if len(f"{head}{os.sep}{_CUT}{os.sep}{longer}") > columns:
            break
        tail = longer
    short = f"{head}{os.sep}{_CUT}{os.sep}{tail}"
    return short if folders and len(short) <= columns else squeezed(name, columns)


def squeezed(text: str, columns: int) -> str:
    """Text in at most `columns` characters, its beginning and its end."""
    if len(text) <= columns:
        return text
    left = max(columns - len(_CUT), 0)
    return text[: left // 2] + _CUT[:columns] + text[len(text) - (left - left // 2) :]
