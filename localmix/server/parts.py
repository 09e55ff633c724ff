"""An answer's text taken apart as it comes: what is said, what is thought, which tools are called.

One machine over pairs of markers. Text that may be the beginning of a marker is held back; a call that cannot be
read is what it looks like: text. Nothing a model writes is an error.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from localmix.answer.stops import begun


@dataclass(frozen=True)
class Call:
    """`arguments` are a JSON object, as text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Said:
    kind: Literal["content", "reasoning"]
    text: str


Part = Said | Call
Read = Callable[[str], list[Call] | None]  # what stands between two markers; None: no calls


@dataclass(frozen=True)
class Marker:
    """`close` "" is the end of the answer. Without `read` it is thinking."""

    open: str
    close: str
    read: Read | None = None


class Parts:
    """Push text, take parts. `inside`: the marker that the prompt has opened already."""

    def __init__(self, markers: Sequence[Marker], inside: Marker | None = None) -> None:
        self._markers, self._inside = markers, inside
        self._held = ""
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
            calls = inside.read(rest)
            found += calls if calls else [Said("content", inside.open + rest)]
        elif rest:
            self._say(found, "content" if inside is None else "reasoning", rest)
        return found

    def _step(self, found: list[Part]) -> bool:
        """Pass one marker, or give out what cannot be part of one; whether there may be more."""
        inside = self._inside
        if inside is None:
            places = [(self._held.find(m.open), m) for m in self._markers if m.open in self._held]
            if not places:
                self._give(found, "content", [marker.open for marker in self._markers])
                return False
            at, marker = min(places, key=lambda place: place[0])
            self._say(found, "content", self._held[:at])
            self._held, self._inside, self._fresh = self._held[at + len(marker.open) :], marker, True
            return True
        at = self._held.find(inside.close) if inside.close else -1
        if at < 0:
            if inside.read is None:
                self._give(found, "reasoning", [inside.close])
            return False
        body, self._held = self._held[:at], self._held[at + len(inside.close) :]
        self._inside = None
        if inside.read is None:
            self._say(found, "reasoning", body)
        else:
            calls = inside.read(body)
            found += calls if calls else [Said("content", inside.open + body + inside.close)]
        self._fresh = True
        return True

    def _give(self, found: list[Part], kind: Literal["content", "reasoning"], markers: list[str]) -> None:
        keep = max((begun(self._held, marker) for marker in markers), default=0)
        if self._fresh and not self._held[: len(self._held) - keep].strip():
            return  # line breaks beside a marker are not text
        at = len(self._held) - keep
        self._say(found, kind, self._held[:at])
        self._held = self._held[at:]

    def _say(self, found: list[Part], kind: Literal["content", "reasoning"], text: str) -> None:
        if self._fresh:
            text = text.lstrip("\n")
        if text:
            self._fresh = False
            found.append(Said(kind, text))


def call_of(value: Any) -> Call | None:
    """A call from JSON, in any of the shapes that models were taught."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = value.get("name", value.get("function"))
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def read_json(text: str) -> list[Call] | None:
    """One object, or a list, or several after each other."""
    decoder, values, rest = json.JSONDecoder(), list[Any](), text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return None
        values += value if isinstance(value, list) else [value]
        rest = rest[end:].lstrip(" \n;,")
    calls = [call for value in values if (call := call_of(value)) is not None]
    return calls if calls and len(calls) == len(values) else None


def read_named(text: str) -> list[Call] | None:
    """Mistral's: name[ARGS]{…}, or name{…}, or a list of objects."""
    found = re.fullmatch(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(\{.*\})\s*", text, re.DOTALL)
    if found is None:
        return read_json(text)
    try:
        call = call_of({"name": found[1], "arguments": json.loads(found[2])})
    except ValueError:
        return None
    return [call] if call else None


def read_xml(text: str) -> list[Call] | None:
    """Qwen3-Coder's: <function=name><parameter=key>value</parameter></function>, values as JSON where they are."""
    calls = []
    for name, body in re.findall(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", text, re.DOTALL):
        pairs = re.findall(r"<parameter=([^>\s]+)>\n?(.*?)\n?(?:</parameter>|\Z)", body, re.DOTALL)
        calls.append(Call(name, json.dumps({key: _value(value) for key, value in pairs}, ensure_ascii=False)))
    return calls or read_json(text)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
