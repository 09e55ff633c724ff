"""Tokens that are found in a text by their spelling, before anything else is done to it: control and added tokens."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import groupby

_PLAIN_UP_TO = 64  # tokens; `re` tries more than that one by one, so they become a tree of common beginnings
_NO_SPACE = "\x1c\x1d\x1e\x1f"  # spaces to Python, but not to Unicode and to the tokenizers library


class Matcher:
    """Finds the leftmost token, of several there the longest. `tokens` are texts and ids."""

    def __init__(self, tokens: Mapping[str, int], habits: Mapping[str, str] | None = None) -> None:
        """`habits` of single texts: "l" and "r" eat the spaces before and after, "w" wants no letter beside it."""
        self.tokens = {text: id for text, id in tokens.items() if text}
        self._habits = {text: habit for text, habit in (habits or {}).items() if text in self.tokens}
        self._pattern = re.compile(_any_of(self.tokens)) if self.tokens else None

    def split(self, text: str) -> Iterator[str | int]:
        """`text` in order: what lies between tokens (never empty) and the ids of the tokens."""
        end = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            token, (first, last) = match[0], match.span()
            habit = self._habits.get(token)
            if habit:
                if "w" in habit and (_is_word(text[first - 1 : first]) or _is_word(text[last : last + 1])):
                    continue
                first, last = _with_spaces(text, first, last, end, habit)
            if end < first:
                yield text[end:first]
            yield self.tokens[token]
            end = last  # which may go back: a token that spaces before it ate is one all the same, as in the library
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


def _with_spaces(text: str, first: int, last: int, end: int, habit: str) -> tuple[int, int]:
    """The span of a token with the spaces that it eats; those before it at most from `end` on."""
    if "l" in habit:
        while first > end and _is_space(text[first - 1]):
            first -= 1
    if "r" in habit:
        while last < len(text) and _is_space(text[last]):
            last += 1
    return first, last


def _is_space(char: str) -> bool:
    return char.isspace() and char not in _NO_SPACE


def _is_word(char: str) -> bool:
    """What `\\w` is in Unicode's own words (UTS #18); Python leaves out marks, and takes all that is numeric."""
    if not char:
        return False
    kind = unicodedata.category(char)
    circled = "\u24b6" <= char <= "\u24e9" or "\U0001f130" <= char <= "\U0001f189"
    return kind[0] in "LM" or kind in ("Nd", "Nl", "Pc") or char in "\u200c\u200d" or circled
