"""Stop strings: text passes through as long as it cannot become one. Knows no model."""

from collections.abc import Sequence


class Stops:
    """Holds back what may be the beginning of a stop string, so that no part of one is ever seen."""

    def __init__(self, strings: Sequence[str]) -> None:
        self.found: str | None = None  # the string that ended the text
        self._strings = strings
        self._pending = ""

    def push(self, text: str) -> str:
        """What is certain to be wanted of all text so far and not yet given out."""
        if not self._strings:
            return text
        text = self._pending + text
        starts = [(at, string) for string in self._strings if (at := text.find(string)) >= 0]
        if starts:
            at, self.found = min(starts)
            self._pending = ""
            return text[:at]
        certain = len(text) - max(begun(text, string) for string in self._strings)
        self._pending = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """What was held back: the text has ended and was no stop string."""
        text, self._pending = self._pending, ""
        return text


def begun(text: str, string: str) -> int:
    """Length of the longest beginning of `string` with which `text` ends."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
