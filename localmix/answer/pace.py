"""How many tokens of prompts fit into a pass, so that those who wait for their next token wait no longer than agreed.

A pass takes the time to read the weights, and more for each token: both are learned from the passes as they come, the
latest counting most, by a straight line through them. Passes grow slower as a prompt grows longer, and the line follows
late: so it is scaled by how much longer the latest passes took than it said.
"""

_SHARE = 0.85  # of the bound that is planned for: passes of one size differ
_KEPT = 0.9  # of the weight of a pass, with each that follows
_LEAST = 16  # tokens of a prompt in a pass: with fewer, reading the weights takes all the time
_GUESS = 64  # tokens of a prompt in the first pass
_FEW = 8  # tokens up to which a pass reads but some of the experts: such passes tell nothing of larger ones
_SPREAD = 0.2  # of the tokens of a pass, by which passes must differ for a line to count as much as its absence
_FOLLOWS = 0.4  # of what a pass took longer than the line said, and so the next ones may
_DRIFTS = (0.9, 1.3)  # of what the line says, at most: a pass that was held up says nothing of the next
_GROWTH = 1.5  # of the tokens of the pass before, at most: a line tells little of what is far from it


class Pace:
    """`gap`: seconds between two tokens of an answer; None: a pass is as large as the engine computes at once."""

    def __init__(self, gap: float | None) -> None:
        self.gap = gap
        self._weight = self._tokens = self._seconds = self._squares = self._products = 0.0  # sums
        self._last = 0  # tokens of the pass before
        self._drift = 1.0  # of the latest passes: seconds, of what the line said

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
        begin, each = (part * self._drift for part in self._line())
        seconds = max(_SHARE * self.gap * (1 if answers else 2), 2 * begin)
        room = min((seconds - begin) / each, _GROWTH * max(self._last, _GUESS))
        return max(min(most, int(room)) - answers, _LEAST)

    def learn(self, tokens: int, seconds: float) -> None:
        """A pass of so many tokens took so long."""
        if tokens > _FEW:
            if self._weight:
                begin, each = self._line()
                late = seconds / (begin + each * tokens)
                self._drift = min(max(self._drift + _FOLLOWS * (late - self._drift), _DRIFTS[0]), _DRIFTS[1])
            self._last = tokens
            self._weight = _KEPT * self._weight + 1
            self._tokens = _KEPT * self._tokens + tokens
            self._seconds = _KEPT * self._seconds + seconds
            self._squares = _KEPT * self._squares + tokens * tokens
            self._products = _KEPT * self._products + tokens * seconds

    def _line(self) -> tuple[float, float]:
        """Seconds of any pass, and of each token. Passes of one size make no line: then all is the tokens'."""
        tokens, seconds = self._tokens / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - tokens * tokens
        common = self._products / self._weight - tokens * seconds
        doubt = (_SPREAD * tokens) ** 2
        each = (common + doubt * seconds / tokens) / (spread + doubt)
        each = min(max(each, 1e-9), seconds / tokens)
        return seconds - each * tokens, each
