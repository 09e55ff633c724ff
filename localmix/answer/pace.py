"""How many tokens of prompts fit into a pass, so that those who wait for their next token wait no longer than agreed.

A pass takes the time to read the weights, and more for each token: both are learned from the passes as they come, the
latest counting most, by a straight line through them.
"""

_SHARE = 0.85  # of the bound that is planned for: passes of one size differ
_KEPT = 0.9  # of the weight of a pass, with each that follows
_LEAST = 16  # tokens of a prompt in a pass: with fewer, reading the weights takes all the time
_GUESS = 64  # tokens of a prompt in the first pass
_FEW = 8  # tokens up to which a pass reads but some of the experts: such passes tell nothing of larger ones
_SPREAD = 4.0  # tokens by which passes must differ for a line


class Pace:
    """`gap`: seconds between two tokens of an answer; None: a pass is as large as the engine computes at once."""

    def __init__(self, gap: float | None) -> None:
        self.gap = gap
        self._weight = self._tokens = self._seconds = self._squares = self._products = 0.0  # sums

    def room(self, most: int, answers: int) -> int:
        """Tokens of prompts in a pass of at most `most` tokens, beside `answers` that wait for a token.

        Where nobody waits for a next token a pass may take twice as long: a request that comes then waits for it. A
        machine that needs the whole gap to read its weights takes as long again for prompts: with less of them they
        would be read for ever, and those who wait for a token would hardly notice.
        """
        if self.gap is None:
            return most - answers
        if not self._weight:
            return min(most - answers, _GUESS)
        begin, each = self._line()
        seconds = max(_SHARE * self.gap * (1 if answers else 2), 2 * begin)
        room = int((seconds - begin) / each) - answers
        return max(min(most - answers, room), _LEAST)

    def learn(self, tokens: int, seconds: float) -> None:
        """A pass of so many tokens took so long."""
        if tokens > _FEW:
            self._weight = _KEPT * self._weight + 1
            self._tokens = _KEPT * self._tokens + tokens
            self._seconds = _KEPT * self._seconds + seconds
            self._squares = _KEPT * self._squares + tokens * tokens
            self._products = _KEPT * self._products + tokens * seconds

    def _line(self) -> tuple[float, float]:
        """Seconds of any pass, and of each token."""
        tokens, seconds = self._tokens / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - tokens * tokens
        if spread > _SPREAD * _SPREAD:
            each = (self._products / self._weight - tokens * seconds) / spread
            begin = seconds - each * tokens
            if each > 0 and begin >= 0:
                return begin, each
        return 0.0, max(seconds / tokens, 1e-9)
