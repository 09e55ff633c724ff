"""The values of a JSON configuration, each checked as it is taken; what nobody took is found at the end."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localmix.errors import FileFormatError, UnsupportedError
from localmix.network.layout import REQUIRED

LARGEST = 3e38  # of single precision, in which a GGUF file has real numbers
MOST = 2**31  # what a GGUF file says in 32 bits, and llama.cpp reads with a sign


@dataclass(frozen=True)
class Settings:
    """A JSON object and the file it is from. A value of null counts as absent."""

    path: Path
    values: dict[str, Any]
    _taken: set[str] = field(default_factory=set, compare=False)
    _inner: dict[str, "Settings"] = field(default_factory=dict, compare=False)

    def whole(self, key: str, default: Any = REQUIRED) -> int:
        """A positive whole number."""
        return int(
            self._checked(key, default, "a positive whole number", lambda v: isinstance(v, int) and 0 < v < MOST)
        )

    def real(self, key: str, default: Any = REQUIRED) -> float:
        """A positive number."""
        return float(
            self._checked(key, default, "a positive number", lambda v: isinstance(v, int | float) and 0 < v < LARGEST)
        )

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._checked(key, default, "true or false", lambda v: isinstance(v, bool)))

    def text(self, key: str, default: Any = REQUIRED) -> str:
        return str(self._checked(key, default, "a text", lambda v: isinstance(v, str)))

    def within(self, key: str) -> "Settings":
        """The object under `key`; empty if there is none."""
        inner = self._checked(key, {}, "an object", lambda v: isinstance(v, dict))
        return self._inner.setdefault(key, Settings(self.path, inner))

    def any(self, key: str, default: Any = None) -> Any:
        """The value as it is."""
        return self._checked(key, default, "", lambda v: True)

    def finish(self, needless: str) -> None:
        """UnsupportedError: a key that nobody took, says something, and does not match `needless`.

        It would be arithmetic that is ignored.
        """
        for key, value in self.values.items():
            says = value is not None and value is not False and value not in ([], {})
            if says and key not in self._taken and not re.search(needless, key):
                raise UnsupportedError(f"{self.path}: {key} = {str(value)[:80]} is unknown, and so not supported")
        for inner in self._inner.values():
            inner.finish(needless)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def _checked(self, key: str, default: Any, expected: str, suits: Any) -> Any:
        value = self.values.get(key)
        self._taken.add(key)
        if value is None:
            if default is REQUIRED:
                raise FileFormatError(f"{self.path}: {key} is missing, expected {expected}")
            return default
        if not suits(value) or (isinstance(value, bool) and expected not in ("", "true or false")):
            raise FileFormatError(f"{self.path}: {key} is {str(value)[:80]!r}, expected {expected}")
        return value
