"""Tokens that are found in a text by their spelling, before anything else is done to it: control and added tokens."""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby

_PLAIN_UP_TO = 64  # tokens; `re` tries more than that one by one, so they become a tree of common beginnings


class Matcher:
    """Finds the leftmost token, of several there the longest. `tokens` are texts and ids."""

    def __init__(self, tokens: Mapping[str, int], habits: Mapping[str, str] | None = None) -> None:
        """`habits` of single texts: "l" and "r" eat the spaces before and after, "w" wants no letter beside it."""
        self.tokens = {text: id for text, id in tokens.items() if text}
        habits = {text: habit for text, habit in (habits or {}).items() if text in self.tokens}
        self._pattern = re.compile(_with_habits(self.tokens, habits) if habits else f"({_any_of(self.tokens)})")

    def split(self, text: str) -> Iterator[str | int]:
        """`text` in order: what lies between tokens (never empty) and the ids of the tokens."""
        if not self.tokens:
            if text:
                yield text
            return
        end = 0
        for match in self._pattern.finditer(text):
            if match.start() > end:
                yield text[end : match.start()]
            yield self.tokens[match[match.lastindex or 0]]
            end = match.end()
        if end < len(text):
            yield text[end:]


def _any_of(tokens: Mapping[str, int]) -> str:
    if len(tokens) > _PLAIN_UP_TO:
        return _tree(sorted(tokens), 0)
    return "|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))


def _tree(texts: list[str], depth: int) -> str:
    """What matches the rest of sorted `texts` after their first `depth` characters, which they share."""
    ends = len(texts[0]) == depth
    branches = [
        re.escape(char) + _tree(list(group), depth + 1)
        for char, group in groupby(texts[ends:], key=lambda text: text[depth])
    ]
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)})" + "?" * ends


def _with_habits(tokens: Mapping[str, int], habits: Mapping[str, str]) -> str:
    """Spaces before a token are looked for from their beginning only: else a long run of them takes its square."""
    alternatives = []
    for text in sorted(tokens, key=len, reverse=True):
        habit = habits.get(text, "")
        before = r"(?:(?<!\s)\s+)?" * ("l" in habit) + r"(?<!\w)" * ("w" in habit)
        after = r"(?!\w)" * ("w" in habit) + r"\s*" * ("r" in habit)
        alternatives.append(f"{before}({re.escape(text)}){after}")
    return "|".join(alternatives)
