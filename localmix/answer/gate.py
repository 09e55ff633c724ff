"""Whether drafting pays, by what it cost so far: seconds of passes and tokens that came of them, measured as it runs.

A pass that checks a draft of k ids takes longer than one that decodes a token: on a mixture of experts much longer,
as other tokens want other experts. What drafts lose against plain decoding is kept below a small share of its time.
"""

from collections import deque
from collections.abc import Iterable, Mapping

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
_FORGOTTEN = 0.002  # of what was learned, with each pass: what did not pay is tried again


class Gate:
    """Learns from all answers of one model: keep one as long as the model.

    `hope`: by how many ids before a draft are the same, from so many on, how likely each of its ids is the next one, at
    first. `guess`: of a single pass, what an id costs, at first. `sure`: passes of one size with a draft that tell what
    it costs; fewer are believed where they took no longer than others let expect.
    """

    def __init__(self, hope: Mapping[int, float] = _HOPE, guess: float = _GUESS, sure: int = _SURE) -> None:
        self._seconds: dict[int, deque[float]] = {}  # of passes, by how many ids they had
        self._known: dict[int, float] = {}  # of them, what such a pass takes
        self._hope, self._guess, self._sure = hope, guess, sure
        self._chance = dict(hope)
        self._balance = 0.0  # seconds: what was won of late, or, below 0, lost
        self._missed = 0  # drafts in a row of which nothing was taken

    def length(self, same: int, most: int) -> int:
        """How many ids to check of a draft of up to `most`, after a run of `same`; 0: a plain pass is better."""
        if 1 not in self._known or self._missed >= _MISSED:
            return 0
        single, chance = self._cost(1), self._chance[self._row(same)]
        if self._balance < -_CREDIT * single:
            return 0
        speeds = {k: _expected(chance, k) / self._cost(k + 1) for k in LENGTHS if k <= most}
        best = max(speeds, key=speeds.__getitem__, default=0)
        return best if best and speeds[best] * single > 1 else 0

    def learn(self, same: int, length: int, taken: int, seconds: float, late: float = 0.0) -> None:
        """A pass with a draft of so many ids (0: none) took so long; `taken` of them were the next ones. `late`: of
        the seconds those that say nothing of other passes, as a text is read once. Half the credit of them counts.
        """
        if self._balance < 0:
            self._balance = min(self._balance + _LOSS * seconds, 0.0)
        self._missed = self._missed + 1 if length and not taken else 0
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
            self._chance[row] += _FORGOTTEN * (hope - self._chance[row])

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


def _expected(chance: float, length: int) -> float:
    """Tokens that a pass gives with a draft of so many ids, each the next one with that chance if those before are."""
    return sum(chance**n for n in range(length + 1))
