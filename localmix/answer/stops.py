"""Stop strings: text passes through as long as it cannot become one. Knows no model."""

from collections.abc import Sequence


class Stops:
    """Holds back what may be the beginning of a stop string, so that no part of one is ever seen."""

    def __init__(self, strings: Sequence[str]) -> None:
        self.found = False
        self._strings = strings
        self._pending = ""

    def push(self, text: str) -> str:
        """What is certain to be wanted of all text so far and not yet given out."""
        if not self._strings:
            return text
        text = self._pending + text
        starts = [at for at in map(text.find, self._strings) if at >= 0]
        if starts:
            self.found, self._pending = True, ""
            return text[: min(starts)]
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
