"""What was computed for an answer, and in how many seconds."""

from dataclasses import astuple, dataclass


@dataclass
class Stats:
    """Counts of tokens, and the seconds of the passes that they were computed in."""

    cached_tokens: int = 0  # of the prompt, found in the cache
    prompt_tokens: int = 0  # of the prompt, computed
    prompt_seconds: float = 0.0
    tokens: int = 0  # of the answer
    decode_tokens: int = 0  # of the answer, computed: all but the last
    decode_seconds: float = 0.0
    drafted: int = 0  # ids of drafts that were checked
    taken: int = 0  # of these, ids that the answer has

    def __add__(self, other: "Stats") -> "Stats":
        return Stats(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def prompt_rate(self) -> float:
        """Tokens a second."""
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def decode_rate(self) -> float:
        """Tokens a second."""
        return self.decode_tokens / self.decode_seconds if self.decode_seconds else 0.0
