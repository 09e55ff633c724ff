"""The errors that a user can meet. Each message says what was found, what was expected and what to do.

Everything that a user can cause derives from LocalmixError: the command line prints it as one line and exits
with 1. Anything else that escapes is a defect of the program.
"""


class LocalmixError(Exception):
    """A problem that the user can understand and act on."""


class FileFormatError(LocalmixError):
    """A file that is damaged, truncated, or of another kind than the one expected."""


class UnsupportedError(LocalmixError):
    """A sound file that asks for arithmetic which this version does not implement."""


class ContextFullError(LocalmixError):
    """More tokens than the context holds."""
