"""Harmony, as gpt-oss writes it: messages that begin with a header.

<|start|>ROLE[ to=RECIPIENT]<|channel|>NAME[ to=RECIPIENT][ <|constrain|>TYPE]<|message|>TEXT, and then <|end|>,
<|return|> or <|call|>. A prompt ends behind <|start|>assistant, so that an answer begins inside a header.

One turn in some dozens has a header that is none: no channel or two, a channel that does not exist, no <|message|>.
Markers are never text, and text behind a broken header is not lost: what no channel hides is the answer.
https://developers.openai.com/cookbook/articles/openai-harmony
"""

import re

from localmix.answer.stops import begun
from localmix.markup.calls import call_of
from localmix.markup.parts import Kind, Part, Said

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, *_ENDS)
_WORDS = ("assistant", "to=", "analysis", "commentary", "final")  # what a header may go on with, without a marker
_LINE = re.compile(r"\s*(assistant)?(\s*to=\S+)?\s*(analysis|commentary|final)?(\s+to=\S+)?(\s+(json|code))?\s*")
_LONGEST = 160  # characters of a header without a marker: what is longer is text
_TYPES = ("", "json", "code")
_OURS = ("assistant", "user", "all")  # recipients that are no tools


class Harmony:
    """A parser, see `localmix.markup.parts`. `calls`: whether tools may be called; else a call is text."""

    def __init__(self, *, calls: bool = True) -> None:
        self._held = ""
        self._calls = calls
        self._header = ""  # up to its last marker
        self._more = ""  # of the header, since then
        self._inside = False  # a message, and not a header: of a kind, or to a tool
        self._kind: Kind = "content"
        self._tool = ""
        self._called = ""  # the text of a call so far
        self._gap = ""  # due before the next text of a message: several are kept apart
        self._told: set[Kind] = set()  # kinds that were given out

    def push(self, text: str) -> list[Part]:
        self._held += text
        found: list[Part] = []
        while places := [(at, one) for one in MARKERS if (at := self._held.find(one)) >= 0]:
            at, marker = min(places)
            before, self._held = self._held[:at], self._held[at + len(marker) :]
            self._text(found, before)
            self._marker(found, marker)
        certain = len(self._held) - max(begun(self._held, marker) for marker in MARKERS)
        before, self._held = self._held[:certain], self._held[certain:]
        self._text(found, before)
        return found

    def end(self) -> list[Part]:
        found: list[Part] = []
        rest, self._held = self._held, ""
        if not any(marker.startswith(rest) for marker in MARKERS):
            self._text(found, rest)
        if not self._inside:
            self._broken(found)
        self._finish(found)
        return found

    def _text(self, found: list[Part], text: str) -> None:
        if not self._inside:
            self._more += text
            cut = self._overrun()
            if cut is None:
                return
            text = self._more[cut:]
            self._begin(self._header + self._more[:cut])
        if self._tool:
            self._called += text
        else:
            self._say(found, self._kind, text)

    def _marker(self, found: list[Part], marker: str) -> None:
        if self._inside:
            if marker in (MESSAGE, CONSTRAIN):
                return  # inside a message they are nothing
            self._finish(found)
            self._header = marker if marker in (START, CHANNEL) else ""
        elif marker == MESSAGE:
            self._begin(self._header + self._more)
        elif marker in (CHANNEL, CONSTRAIN):
            self._header, self._more = self._header + self._more + marker, ""
        else:
            self._broken(found)
            self._finish(found)
            self._header = marker if marker == START else ""

    def _overrun(self) -> int | None:
        """Where in a header text has begun although no marker says so. Longer text never changes what it tells."""
        more = self._more[:_LONGEST]
        start = len(more) - len(more.lstrip())
        if not self._header and start < len(more):
            rest = more[start:]
            if not any(rest.startswith(word) or word.startswith(rest) for word in _WORDS):
                return start
        line = more.find("\n", start)
        if line < 0 and len(more) < _LONGEST:
            return None
        end = line + 1 if line >= 0 else start + len(more[start:].split(" ")[0])
        return end if self._header or _LINE.fullmatch(more[:end]) else start

    def _begin(self, header: str) -> None:
        """A message begins: what its header says of it."""
        to = re.search(r"\bto=([^\s<]+)", header)
        self._tool = to[1] if to and to[1] not in _OURS else ""
        self._kind = "reasoning" if is_thought(header) else "content"
        self._inside, self._header, self._more, self._gap = True, "", "", "\n\n"

    def _broken(self, found: list[Part]) -> None:
        """A header that ends without <|message|>: what stands behind its first word may be the text."""
        header, whole = self._header, self._more.strip()
        self._header = self._more = ""
        if not header:
            text = "" if _LINE.fullmatch(whole) else whole
        elif header.endswith(CONSTRAIN):
            text = whole.removeprefix("json")
        else:
            word, _, rest = whole.partition(" ")
            header, text = header + word, re.sub(r"^\s*to=\S+\s*", "", rest)
        if text not in _TYPES:
            self._begin(header)
            self._text(found, text)

    def _finish(self, found: list[Part]) -> None:
        """A message ends."""
        tool, text = self._tool, self._called
        self._inside, self._tool, self._called = False, "", ""
        if not tool:
            return
        call = call_of({"name": tool.removeprefix("functions."), "arguments": text.strip() or "{}"})
        if call is not None and self._calls:
            found.append(call)
        else:  # a tool that gpt-oss brings along takes code, and is asked while it thinks
            self._say(found, "content" if tool.startswith("functions") else "reasoning", text)

    def _say(self, found: list[Part], kind: Kind, text: str) -> None:
        if text:
            gap, self._gap = self._gap if kind in self._told else "", ""
            self._told.add(kind)
            found.append(Said(kind, gap + text))


def is_thought(header: str) -> bool:
    """Whether a message with such a header is none of the answer: a thought, or what the model lets others say."""
    channels = re.findall(r"<\|channel\|>\s*([^\s<]+)", header)
    role = re.search(r"<\|start\|>\s*([^\s<]+)", header)
    return bool(channels and channels[-1].startswith("analysis")) or bool(role and role[1] != "assistant")
