"""How many tokens of prompts fit into a pass, so that those who wait for their next token wait no longer than agreed.

Learned from the passes as they come: the time of one without prompts, and of each token of a prompt on top.
"""

_SHARE = 0.8  # of the bound that is planned for: passes of the same size differ
_KEPT = 0.8  # of an estimate that was too slow, with each pass: too fast is corrected at once
_LEAST = 16  # tokens of a prompt in a pass: below it reading the weights takes all the time
_GUESS = 64  # tokens of a prompt in the first pass


class Pace:
    """`gap`: seconds between two tokens of an answer; None: a pass is as large as the engine computes at once."""

    def __init__(self, gap: float | None) -> None:
        self.gap = gap
        self._base = self._each = 0.0  # seconds

    def room(self, most: int, answers: int) -> int:
        """Tokens of prompts in a pass of at most `most` tokens, beside `answers` that wait for a token."""
        if self.gap is None:
            return most - answers
        if not self._each:
            return min(most, _GUESS)
        seconds = _SHARE * self.gap * (1 if answers else 2) - (self._base if answers else 0)
        return max(min(most, int(seconds / self._each)), _LEAST)

    def learn(self, prompt: int, answers: int, seconds: float) -> None:
        """A pass with so many tokens of prompts and of answers took so long."""
        if not prompt:
            self._base = _estimate(self._base, seconds)
        elif prompt >= _LEAST:
            self._each = _estimate(self._each, max(seconds - (self._base if answers else 0), 0) / prompt)


def _estimate(old: float, new: float) -> float:
    return max(new, _KEPT * old + (1 - _KEPT) * new)
