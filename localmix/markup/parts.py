"""The parts that an answer's text is taken into, and what takes it apart."""

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["content", "reasoning"]


@dataclass(frozen=True)
class Said:
    """Text for the user, or what the model thinks before it answers."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Call:
    """A tool that the model calls. `arguments` are a JSON object, as text."""

    name: str
    arguments: str


Part = Said | Call


class Parser(Protocol):
    """Push text, take parts: however the text is cut, they add up to the same."""

    def push(self, text: str) -> list[Part]:
        """What is certain now."""

    def end(self) -> list[Part]:
        """No more comes."""
