"""The values of a JSON configuration, each checked as it is taken."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmix.errors import FileFormatError

REQUIRED = object()
LARGEST = 3e38  # of single precision, in which a GGUF file has real numbers
MOST = 2**31  # what a GGUF file says in 32 bits, and llama.cpp reads with a sign


@dataclass(frozen=True)
class Settings:
    """A JSON object and the file it is from. A value of null counts as absent."""

    path: Path
    values: dict[str, Any]

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
        return Settings(self.path, inner)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def _checked(self, key: str, default: Any, expected: str, suits: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            if default is REQUIRED:
                raise FileFormatError(f"{self.path}: {key} is missing, expected {expected}")
            return default
        if not suits(value) or (isinstance(value, bool) and expected != "true or false"):
            raise FileFormatError(f"{self.path}: {key} is {str(value)[:80]!r}, expected {expected}")
        return value
