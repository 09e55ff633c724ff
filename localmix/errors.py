"""The errors that a user can meet. Each message says what was found, what was expected and what to do.

Everything that a user can cause derives from LocalmixError: the command line prints it as one line and exits
with 1. Anything else that escapes is a defect of the program.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike


class LocalmixError(Exception):
    """A problem that the user can understand and act on."""


class FileFormatError(LocalmixError):
    """A file that is damaged, truncated, or of another kind than the one expected."""


class UnsupportedError(LocalmixError):
    """A sound file that asks for arithmetic which this version does not implement."""


class ContextFullError(LocalmixError):
    """More tokens than the context holds: `tokens`, or at least so many, where it has `size`."""

    def __init__(self, message: str, tokens: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.tokens, self.size = tokens, size


@contextmanager
def concerning(path: str | PathLike[str]) -> Iterator[None]:
    """Errors from inside, where nobody knows which file it is about, begin with the file's name."""
    try:
        yield
    except LocalmixError as error:
        raise type(error)(f"{path}: {error}") from error
