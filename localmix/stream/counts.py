"""What a pool was asked for, and what it did: numbers that can be added and subtracted."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Counts:
    """What was asked for and done: `wanted` experts, of which so many were `hits`, some in part; seconds in which
    something was being read, and in which somebody `waited`; for how many `tokens`, where that was told.
    """

    wanted: int = 0
    hits: float = 0.0
    bytes_read: int = 0
    reading: float = 0.0
    waited: float = 0.0
    tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def hit_rate(self) -> float:
        return self.hits / max(self.wanted, 1)

    @property
    def speed(self) -> float:
        """Bytes a second, while something was being read."""
        return self.bytes_read / self.reading if self.reading else 0.0
