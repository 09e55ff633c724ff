"""How many tokens of prompts fit into a pass, so that those who wait for their next token wait no longer than agreed.

What passes cost is learned as they come (`localmix.answer.costs`), and how much they differ: a pass is as large as
keeps the bound even where it takes longer than expected by some deviations. Where nothing disturbs the machine pieces
are large, and the weights are read for few of them; where passes differ much they are smaller. The same holds for
passes that are left between layers: there a layer and the tokens of all answers are to keep the bound together.
"""

from bisect import bisect_right

from localmix.answer.costs import Costs

_SHARE = 0.92  # of the bound that passes may take: the rest is the way to the client, beside processors that compute
_DEVIATIONS = 3.0  # by which a pass may take longer than expected
_BOTH_DEVIATIONS = 2.5  # by which two passes, one after the other, may both take longer
_MOST_READING = 0.75  # of a pass
_LEAST = 16  # tokens in a pass: with fewer, reading the weights takes all the time
_LEAST_READ = 4  # of them of prompts, beside many answers
_GUESS = 64  # tokens of a prompt in the first pass
_LAST = 0.1  # of a layer that the last one takes, of which only what follows is computed
_CLEARLY = 1.2  # times as fast
_PIECES = 8  # after which the other way is tried again: what is known of it may be of a worse minute
_FEW = 8  # tokens up to which a pass reads but some of the experts: such passes tell nothing of larger ones


class Pace:
    """`gap`: seconds between two tokens of an answer; None: a pass is as large as the engine computes at once."""

    def __init__(self, gap: float | None) -> None:
        self.gap = gap
        self._costs = Costs()  # of passes
        self._layers = Costs()  # of a layer of passes that are left between layers
        self._answers = Costs()  # of passes with a token of each answer alone
        self._pieces = 0  # that were read instead, one after the other

    def room(self, most: int, answers: int) -> int:
        """Tokens of prompts in a pass of at most `most` tokens, beside `answers` that wait for a token.

        Where nobody waits for a next token a pass may take twice as long: a request that comes then waits for it. A
        machine that needs the whole gap to read its weights takes as long again for prompts: with less of them they
        would be read for ever, and those who wait for a token would hardly notice.
        """
        if self.gap is None:
            return most - answers
        if not self._costs.begin:
            return min(most - answers, _GUESS)
        seconds, begin = self._bound * (1 if answers else 2), self._costs.begin
        if begin > _MOST_READING * seconds:
            seconds = 2 * begin
        room = bisect_right(range(most + 1), seconds, key=lambda tokens: self._costs.seconds(tokens, _DEVIATIONS)) - 1
        return max(room, _LEAST, answers + _LEAST_READ) - answers

    def between(self, most: int, answers: int, layers: int) -> int:
        """Tokens of a pass of so many `layers` between which `answers` go on, `most` at most; 0: prompts are read
        sooner in pieces that share the passes of answers, as where these are many.
        """
        if not self._layers.begin:
            return min(most, _GUESS)
        token = self._answering(answers)
        left = (self._bound - token) / (1 + _LAST) if answers else self._bound
        room = bisect_right(range(most + 1), left, key=self._layer) - 1
        room, piece = max(room, _LEAST), self.room(most, answers)
        layer = self._layers.seconds(room)
        turns = (layers - 1) / max(left // layer, 1)  # in which answers get a token each
        between = (layers - 1 + _LAST) * layer + turns * self._answers.seconds(answers)
        together = self._costs.seconds(piece + answers)
        sooner = piece * between > _CLEARLY * room * together
        self._pieces = self._pieces + 1 if answers and sooner else 0
        return 0 if 0 < self._pieces < _PIECES else room

    def waits(self, tokens: int, answers: int, waited: float) -> bool:
        """Whether `answers` that have `waited` can wait for another layer of a pass of so many tokens."""
        return waited + self._layer(tokens) + self._answering(answers) <= self._bound

    def learn(self, tokens: int, seconds: float, *, answers: bool = False) -> None:
        """A pass of so many tokens took so long; `answers`: a token of each, and no prompts."""
        if self.gap is None:
            return
        if tokens > _FEW:
            self._costs.learn(tokens, seconds)
        if answers:
            self._answers.learn(tokens, seconds)

    def learn_layer(self, tokens: int, seconds: float) -> None:
        """A layer of a pass of so many tokens took so long."""
        self._layers.learn(tokens, seconds)

    @property
    def _bound(self) -> float:
        return _SHARE * (self.gap or 0.0)

    def _layer(self, tokens: int) -> float:
        """Seconds for a layer of a pass of so many tokens, at most."""
        return self._layers.seconds(tokens, _BOTH_DEVIATIONS)

    def _answering(self, answers: int) -> float:
        """Seconds for a token of each answer, at most."""
        return self._answers.seconds(answers, _BOTH_DEVIATIONS) if answers and self._answers.begin else 0.0
