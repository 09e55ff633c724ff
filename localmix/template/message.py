"""One message of a conversation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """Who says what. `ids` are an answer's tokens as they were generated.

    An answer that has `ids` goes back into the prompt as those ids: encoding its text again may cut it into
    other tokens, and the cache would no longer fit. `more` are further fields that a template may look for, as
    `tool_calls` or `reasoning_content`.
    """

    role: str
    content: str
    ids: tuple[int, ...] | None = None
    more: Mapping[str, Any] | None = None
