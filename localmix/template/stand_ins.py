"""Private-use characters in place of what a template has to hand on unread."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest

from localmix.errors import LocalmixError
from localmix.tokenizer import Tokenizer

_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


class StandIns:
    """The stand-ins of one conversation: characters that occur nowhere in it, each for a text or an answer."""

    def __init__(self, texts: Iterable[str], tokenizer: Tokenizer) -> None:
        """`texts` are all those that the printed text can be made of: messages, template, control tokens."""
        used = set().union(*texts)
        self._free = (char for char in map(chr, chain(*_PRIVATE_USE)) if char not in used)
        self._texts: dict[str, str] = {}  # text -> its stand-in
        self._answers: dict[str, list[int]] = {}
        self._tokenizer = tokenizer
        controls = tokenizer.control_tokens
        self._starts = {"", *(control[:size] for control in controls for size in range(len(control)))}
        self._ends = {"", *(control[size:] for control in controls for size in range(1, len(control)))}
        self._longest = max(map(len, controls), default=0)

    def hide_control(self, content: str) -> str:
        """`content` with a stand-in for each control token in it, and for what could become one at its edges.

        The template may print `<` before a content `s>`; and it may strip spaces first, so edges are within them.
        """
        body = content.strip()
        if any(body in control for control in self._tokenizer.control_tokens):
            return content.replace(body, self._of_text(body), 1)
        sizes = range(min(len(body), self._longest) + 1)
        start = max(size for size in sizes if body[:size] in self._ends)
        end = max(size for size in sizes if body[len(body) - size :] in self._starts)
        end = min(end, len(body) - start)
        parts = [
            part if isinstance(part, str) else self._of_text(self._tokenizer.text(part))
            for part in self._tokenizer.split_control(body[start : len(body) - end])
        ]
        hidden = self._of_text(body[:start]) + "".join(parts) + self._of_text(body[len(body) - end :])
        return content.replace(body, hidden, 1)

    def hide_answer(self, ids: list[int]) -> str:
        """A stand-in for an answer that is known as ids."""
        char = self._next_free()
        self._answers[char] = ids
        return char

    def split(self, printed: str) -> Iterator[tuple[str, list[int]]]:
        """`printed` as pairs of a text and the answer that follows it; the last one is followed by none."""
        parts = re.split(f"([{''.join(self._answers)}])", printed) if self._answers else [printed]
        for text, char in zip_longest(parts[::2], parts[1::2]):
            yield text, [] if char is None else self._answers[char]

    def reveal(self, text: str) -> str:
        """`text` with what the stand-ins in it stand for."""
        return text.translate({ord(char): hidden for hidden, char in self._texts.items()})

    def _of_text(self, text: str) -> str:
        if not text:
            return ""
        if text not in self._texts:
            self._texts[text] = self._next_free()
        return self._texts[text]

    def _next_free(self) -> str:
        char = next(self._free, None)
        if char is None:
            raise LocalmixError("the conversation uses up all of Unicode's private-use characters")
        return char
