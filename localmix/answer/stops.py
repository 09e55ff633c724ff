"""Stop strings: text passes through as long as it cannot become one. Knows no model."""

from collections.abc import Sequence
from typing import Literal, Protocol

Stretch = tuple[str, Literal["said", "aside", "marker"]]  # a marker is whole


class Asides(Protocol):
    """Tells what of an answer is for the user. What may go either way is held back."""

    def push(self, text: str) -> list[Stretch]: ...
    def rest(self) -> list[Stretch]: ...  # no more comes


class Stops:
    """Holds back what may be the beginning of a stop string, so that no part of one is ever seen.

    With `asides` strings count only in what is for the user, or as a marker: nothing in a thought ends an answer.
    """

    def __init__(self, strings: Sequence[str], asides: Asides | None = None) -> None:
        self.found: str | None = None  # the string that ended the text
        self._strings = strings
        self._asides = asides
        self._pending = ""

    def push(self, text: str) -> str:
        """What is certain to be wanted of all text so far and not yet given out."""
        if not self._strings:
            return text
        return self._given(self._asides.push(text) if self._asides is not None else [(text, "said")])

    def flush(self) -> str:
        """What was held back: the text has ended."""
        text = self._given(self._asides.rest()) if self._strings and self._asides is not None else ""
        pending, self._pending = self._pending, ""
        return text + pending

    def _given(self, stretches: Sequence[Stretch]) -> str:
        found = ""
        for text, kind in stretches:
            if self.found is not None:
                break
            if kind == "said" or (kind == "marker" and text in self._strings):
                found += self._passed(text)
            elif text:
                found += self._pending + text
                self._pending = ""
        return found

    def _passed(self, text: str) -> str:
        text = self._pending + text
        starts = [(at, string) for string in self._strings if (at := text.find(string)) >= 0]
        if starts:
            at, self.found = min(starts)
            self._pending = ""
            return text[:at]
        certain = len(text) - max(begun(text, string) for string in self._strings)
        self._pending = text[certain:]
        return text[:certain]


def begun(text: str, string: str) -> int:
    """Length of the longest beginning of `string` with which `text` ends."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
