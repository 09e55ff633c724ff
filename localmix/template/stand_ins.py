"""Private-use characters in place of what a template has to hand on unread."""

import re
from collections.abc import Iterable, Iterator

from localmix.errors import LocalmixError
from localmix.tokenizer import Tokenizer

_PRIVATE_USE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))


class StandIns:
    """The stand-ins of one conversation: characters that occur nowhere in it, each for a text or an answer."""

    def __init__(self, texts: Iterable[str], tokenizer: Tokenizer) -> None:
        """`texts` are all those that the printed text can be made of: messages, template, control tokens."""
        used = set().union(*texts)
        self._free = (char for char in map(chr, _PRIVATE_USE) if char not in used)
        self._texts: dict[int, str] = {}  # code point -> what it stands for, as str.translate wants it
        self._answers: dict[str, list[int]] = {}
        self._tokenizer = tokenizer

    def hide_control(self, content: str) -> str:
        """`content` with a stand-in for each control token in it, and for the beginning of one at its end."""
        parts = [
            part if isinstance(part, str) else self._of_text(self._tokenizer.text(part))
            for part in self._tokenizer.split_control(content)
        ]
        if parts and (begun := self._begun_control(parts[-1])):
            parts[-1] = parts[-1].removesuffix(begun) + self._of_text(begun)
        return "".join(parts)

    def hide_answer(self, ids: list[int]) -> str:
        """A stand-in for an answer that is known as ids."""
        char = self._next_free()
        self._answers[char] = ids
        return char

    def split(self, printed: str) -> Iterator[str | list[int]]:
        """`printed` as stretches of text and the answers between them, in order."""
        if not self._answers:
            yield printed
            return
        for part in re.split(f"([{''.join(self._answers)}])", printed):
            yield self._answers.get(part, part)

    def reveal(self, text: str) -> str:
        """`text` with what the stand-ins in it stand for."""
        return text.translate(self._texts)

    def _begun_control(self, text: str) -> str:
        """The end of `text` that what the template prints next could complete to a control token."""
        ends = (
            control[:size]
            for control in self._tokenizer.control_tokens
            for size in range(1, len(control))
            if text.endswith(control[:size])
        )
        return max(ends, key=len, default="")

    def _of_text(self, text: str) -> str:
        char = self._next_free()
        self._texts[ord(char)] = text
        return char

    def _next_free(self) -> str:
        char = next(self._free, None)
        if char is None:
            raise LocalmixError("the conversation uses up all of Unicode's private-use characters")
        return char
