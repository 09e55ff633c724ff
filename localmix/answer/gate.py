"""Whether drafting pays, by what it cost so far: seconds of passes and tokens that came of them, measured as it runs.

A pass that checks a draft of k ids takes longer than one that decodes a token: on a mixture of experts much longer,
as other tokens want other experts. What drafts lose against plain decoding is kept below a small share of its time.
A source that has to read a text before it can guess is asked first how often it would have guessed right.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import accumulate

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # of drafts
# Of a draft after a run of so many ids that were the same before, how likely each id is the next one, at first.
_HOPE = {2: 0.5, 4: 0.7, 8: 0.85, 16: 0.95}
_LOSS = 0.01  # of the time spent, at most, that drafts may lose
_CREDIT = 2.0  # single passes that they may lose besides
_SAVED = 4.0  # single passes won before, at most, that they may lose, too
_DEEPEST = 3.0  # credits that are lost, at most
_SURE = 3  # passes of one size: fewer may all have waited for other programs
_GUESS = 0.15  # of a single pass, that each id of a draft costs, before any was measured
_LATEST = 9  # passes of one size that count
_MISSED = 2  # drafts in a row of which nothing was taken: then a plain pass, to know what those take now
_LEARNED = 0.05  # weight of a new hit or miss
_ASKING = 0.02  # of all passes, that asking may take
_AT_ONCE = 1.5  # single passes that it may take besides
_DOUBT = 1  # id that is as likely as was hoped, beside those that a source was asked for
_EVERY = 4  # passes without a draft: of the last one is learned, as small models decode a token in 0.4 ms
_FORGOTTEN = 0.002  # of what was learned, with each pass: what did not pay is tried again


class Gate:
    """Learns from all answers of one model: keep one as long as the model.

    `hope`: by how many ids before a draft are the same, from so many on, how likely each of its ids is the next one, at
    first. `guess`: of a single pass, what an id costs, at first. `sure`: passes of one size with a draft that tell what
    it costs; fewer are believed where they took no longer than others let expect. `asks`: whether a source is to be
    asked before its ids are checked, at first and after it was of no use.
    """

    def __init__(
        self, hope: Mapping[int, float] = _HOPE, guess: float = _GUESS, sure: int = _SURE, asks: bool = False
    ) -> None:
        self.asks, self._may_ask = asks, asks
        self.allowance = _AT_ONCE  # single passes that asking may take
        self._seconds: dict[int, deque[float]] = {}  # of passes, by how many ids they had
        self._known: dict[int, float] = {}  # of them, what such a pass takes
        self._hope, self._guess, self._sure = hope, guess, sure
        self._chance = dict(hope)
        self._balance = 0.0  # seconds: what was won of late, or, below 0, lost
        self._missed = 0  # drafts in a row of which nothing was taken
        self._passes = 0  # of which nothing was learned yet

    def length(self, same: int, most: int) -> int:
        """How many ids to check of a draft of up to `most`, after a run of `same`; 0: a plain pass is better."""
        if 1 not in self._known or self._missed >= _MISSED:
            return 0
        single, chance = self._cost(1), self._chance[self._row(same)]
        if self._balance < -_CREDIT * single:
            return 0
        best, fastest = 0, 1 / single
        if single > (1 - chance) * self._cost(2):  # else not the longest of drafts pays, and this is asked every token
            for k, tokens in zip(LENGTHS, _expected(chance), strict=True):
                if k <= most and tokens > fastest * (cost := self._cost(k + 1)):
                    best, fastest = k, tokens / cost
        if best:
            return best
        if most >= LENGTHS[-1]:
            self.asks = self._may_ask
        return 0

    def hear(self, hits: int, count: int, passes: float) -> None:
        """Of `count` ids that were chosen a source would have guessed so many. To know that took so many passes."""
        if count:
            self.asks, self.allowance = False, self.allowance - passes
            for row, hope in self._hope.items():
                self._chance[row] = (hits + _DOUBT * hope) / (count + _DOUBT)

    def learn(self, same: int, length: int, taken: int, seconds: float, late: float = 0.0) -> None:
        """A pass with a draft of so many ids (0: none) took so long; `taken` of them were the next ones. `late`: of
        the seconds those that say nothing of other passes, as a text is read once. Half the credit of them counts.
        """
        self._missed = self._missed + 1 if length and not taken else 0
        self._passes += 1
        if not length and self._passes < _EVERY and 1 in self._known:
            return
        passes, self._passes = self._passes, 0
        if self._balance < 0:
            self._balance = min(self._balance + _LOSS * seconds * passes, 0.0)
        self.allowance += _ASKING * passes
        some = self._seconds.setdefault(length + 1, deque(maxlen=_LATEST))
        some.append(seconds - late)
        if len(some) >= (self._sure if length else _SURE):
            self._known[length + 1] = _middle(some)
        if length and 1 in self._known:
            single, row = self._cost(1), self._row(same)
            spent = self._cost(length + 1) + min(late, _CREDIT / 2 * single)  # not `seconds`: other programs had some
            least = -_DEEPEST * _CREDIT * single
            self._balance = max(min(self._balance + (taken + 1) * single - spent, _SAVED * single), least)
            for hit in [1.0] * taken + [0.0] * (taken < length):
                self._chance[row] += _LEARNED * (hit - self._chance[row])
        for row, hope in self._hope.items():
            self._chance[row] += _FORGOTTEN * passes * (hope - self._chance[row])

    def _row(self, same: int) -> int:
        """Where what is known of drafts after so many ids is kept."""
        return max(least for least in self._hope if same >= least)

    def _cost(self, ids: int) -> float:
        """Seconds of a pass of so many ids: measured, or on the line through the nearest that were."""
        known = self._known
        if ids in known:
            return known[ids]
        low = max(n for n in known if n < ids)
        high = min((n for n in known if n > ids), default=0)
        if high:
            each = (known[high] - known[low]) / (high - low)
        else:
            each = (known[low] - known[1]) / (low - 1) if low > 1 else self._guess * known[1]
        line = known[low] + max(each, 0.0) * (ids - low)
        return _middle([*self._seconds.get(ids, ()), line])


def _middle(values: Iterable[float]) -> float:
    """The lower of two in the middle."""
    some = sorted(values)
    return some[(len(some) - 1) // 2]


def _expected(chance: float) -> list[float]:
    """Tokens that passes give with drafts of LENGTHS, each id the next one with that chance if those before are."""
    tokens = list(accumulate(chance**n for n in range(LENGTHS[-1] + 1)))
    return [tokens[length] for length in LENGTHS]
