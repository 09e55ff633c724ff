"""One message of a conversation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """Who says what. `ids` are an answer's tokens as they were generated.

    An answer that has `ids` goes back into the prompt as those ids: encoding its text again may cut it into
    other tokens, and the cache would no longer fit.
    """

    role: str
    content: str
    ids: tuple[int, ...] | None = None
