"""Which stretches of an answer are for the user, and which are thoughts or headers: stop strings count in the first.

Text goes through unchanged, markers included; what may be the beginning of one is held back. Nothing is an error.
"""

from typing import Literal

from localmix.answer.stops import Stretch, begun
from localmix.markup.harmony import MARKERS, MESSAGE, is_thought


class Between:
    """Thoughts between two markers; `inside`: the prompt has opened one."""

    def __init__(self, open: str, close: str, inside: bool) -> None:
        self._open, self._close, self._inside = open, close, inside
        self._held = ""

    def push(self, text: str) -> list[Stretch]:
        self._held += text
        found: list[Stretch] = []
        while (at := self._held.find(mark := self._mark)) >= 0:
            end = at + len(mark)
            found += [(self._held[:at], self._kind), (self._held[at:end], "marker")]
            self._held, self._inside = self._held[end:], not self._inside
        certain = len(self._held) - begun(self._held, self._mark)
        found.append((self._held[:certain], self._kind))
        self._held = self._held[certain:]
        return found

    def rest(self) -> list[Stretch]:
        """What was held back: no more comes."""
        held, self._held = self._held, ""
        return [(held, self._kind)]

    @property
    def _kind(self) -> Literal["said", "aside"]:
        return "aside" if self._inside else "said"

    @property
    def _mark(self) -> str:
        return self._close if self._inside else self._open


class Messages:
    """Harmony's: an answer begins in a header, and a message is for the user if its header says so."""

    def __init__(self) -> None:
        self._held = self._header = ""
        self._message: bool | None = None  # whether the message is for the user; None: in a header

    def push(self, text: str) -> list[Stretch]:
        self._held += text
        found: list[Stretch] = []
        while places := [(at, one) for one in MARKERS if (at := self._held.find(one)) >= 0]:
            at, marker = min(places)
            self._pass(found, at)
            self._held = self._held[len(marker) :]
            found.append((marker, "marker"))
            if marker == MESSAGE and self._message is None:
                self._message = not is_thought(self._header)
            elif marker != MESSAGE:
                self._header = marker if self._message is not None else self._header + marker
                self._message = None
        self._pass(found, len(self._held) - max(begun(self._held, marker) for marker in MARKERS))
        return found

    def rest(self) -> list[Stretch]:
        """What was held back: no more comes."""
        found: list[Stretch] = []
        self._pass(found, len(self._held))
        return found

    def _pass(self, found: list[Stretch], count: int) -> None:
        text, self._held = self._held[:count], self._held[count:]
        if self._message is None:
            self._header += text
        found.append((text, "said" if self._message else "aside"))
