"""What stands between two markers, as <think> and </think>, taken out of a text as it comes.

Text that may be the beginning of a marker is held back; a call that cannot be read is what it looks like: text.
Nothing a model writes is an error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localmix.answer.stops import begun
from localmix.markup.parts import Call, Kind, Part, Said

Read = Callable[[str], list[Call] | None]  # what stands between two markers; None: no calls
_LONGEST_NAME = 40  # characters


@dataclass(frozen=True)
class Marker:
    """`close` "" is the end of the answer. Without `read` it is thinking. `named`: a line with a name comes first."""

    open: str
    close: str
    read: Read | None = None
    named: bool = False


class Pairs:
    """A parser, see `localmix.markup.parts`. `inside`: the marker that the prompt has opened already.

    `bare`: markers without their other half, and those of a call that cannot be read, are left out of the text.
    """

    def __init__(self, markers: Sequence[Marker], inside: Marker | None = None, *, bare: bool = False) -> None:
        self._markers, self._inside, self._bare = markers, inside, bare
        self._strays = [m.close for m in markers if m.close and (bare or m.read is None)]
        self._held = ""
        self._naming = False  # the name of what has begun is not whole
        self._fresh = inside is not None  # a marker has just begun or ended: space beside it says nothing

    def push(self, text: str) -> list[Part]:
        """What is certain now."""
        self._held += text
        found: list[Part] = []
        while self._step(found):
            pass
        return found

    def end(self) -> list[Part]:
        """No more comes."""
        found = self.push("")
        rest, inside = self._held, self._inside
        self._held, self._inside = "", None
        if inside is not None and inside.read is not None:
            self._called(found, inside, rest, "")
        elif rest and not self._naming:
            self._say(found, "content" if inside is None else "reasoning", rest)
        return found

    def _step(self, found: list[Part]) -> bool:
        """Pass one marker, or give out what cannot be part of one; whether there may be more."""
        inside = self._inside
        if inside is None:
            return self._outside(found)
        if self._naming:
            return self._named(inside)
        if inside.read is None:
            return self._thinking(found, inside)
        at = self._held.find(inside.close) if inside.close else -1
        if at < 0:
            return False
        body, self._held = self._held[:at], self._held[at + len(inside.close) :]
        self._inside = None
        self._called(found, inside, body, inside.close)
        self._fresh = True
        return True

    def _thinking(self, found: list[Part], inside: Marker) -> bool:
        """Up to the end of a thought, or a marker that means nothing there, as a second <think>."""
        strays = [*self._strays, *(m.open for m in self._markers)] if self._bare else [inside.open]
        marks = [mark for mark in (inside.close, *strays) if mark]
        places = [(at, -len(mark), mark) for mark in marks if (at := self._held.find(mark)) >= 0]
        if not places:
            self._give(found, "reasoning", marks)
            return False
        at, _, mark = min(places)
        self._say(found, "reasoning", self._held[:at])
        self._held, self._fresh = self._held[at + len(mark) :], True
        if mark == inside.close:
            self._inside = None
        return True

    def _outside(self, found: list[Part]) -> bool:
        """Up to the next marker, which begins something or is a stray one."""
        marks: list[Marker | str] = [*self._markers, *self._strays]
        places = [(self._held.find(text), -len(text), mark) for mark in marks if (text := _text(mark)) in self._held]
        if not places:
            self._give(found, "content", [_text(mark) for mark in marks])
            return False
        at, size, mark = min(places, key=lambda place: place[:2])
        self._say(found, "content", self._held[:at])
        self._held, self._fresh = self._held[at - size :], True
        if isinstance(mark, Marker):
            self._inside, self._naming = mark, mark.named
        return True

    def _named(self, inside: Marker) -> bool:
        """Pass the name; whether it is whole."""
        ends = [at for end in ("\n", inside.close) if (at := self._held.find(end)) >= 0]
        if not ends and len(self._held) <= _LONGEST_NAME:
            return False
        cut = min(ends, default=_LONGEST_NAME + 1)
        self._held, self._naming = self._held[cut if cut <= _LONGEST_NAME else 0 :], False
        return True

    def _called(self, found: list[Part], marker: Marker, body: str, close: str) -> None:
        assert marker.read is not None
        calls = marker.read(body)
        if calls:
            found += calls
        else:
            self._say(found, "content", body if self._bare else marker.open + body + close)

    def _give(self, found: list[Part], kind: Kind, markers: list[str]) -> None:
        keep = max((begun(self._held, marker) for marker in markers), default=0)
        if self._fresh and not self._held[: len(self._held) - keep].strip():
            return  # line breaks beside a marker are not text
        at = len(self._held) - keep
        self._say(found, kind, self._held[:at])
        self._held = self._held[at:]

    def _say(self, found: list[Part], kind: Kind, text: str) -> None:
        if self._fresh:
            text = text.lstrip("\n")
        if text:
            self._fresh = False
            found.append(Said(kind, text))


def _text(mark: Marker | str) -> str:
    return mark if isinstance(mark, str) else mark.open
