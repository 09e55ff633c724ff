"""Files that are there whole or not at all: written beside their place and moved into it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from localmix.errors import LocalmixError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A file to be written, which becomes `path` when the block ends; after an error nothing is left of it.

    LocalmixError: the disk.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise LocalmixError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            aside.unlink()


def check_new(path: Path, force: bool) -> None:
    """LocalmixError: something is at `path` that may not be overwritten, or there is no folder for it."""
    if path.exists() and not force:
        raise LocalmixError(f"{path}: already exists: choose another name, or overwrite it with --force")
    if not path.absolute().parent.is_dir():
        raise LocalmixError(f"{path}: cannot be written: {path.absolute().parent} is not a folder")
