"""What passes cost on this machine, and how far a guess of it may be off.

A pass takes the time to read the weights, and more for each token: two numbers, followed from pass to pass by a Kalman
filter, since passes grow slower with the length of a prompt and machines are slower in one minute than in the next. As
it keeps how uncertain both are, it knows that sizes unlike those of the latest passes are guessed worse.
"""

from math import sqrt

_WEIGHTS = 24  # tokens that take as long as reading the weights does: before passes of two sizes told
_UNKNOWN = 0.5  # of what either number is, at first
_UNSURE = 0.3  # and later, at most: passes of one size tell nothing of others, and yet what was learned is no nonsense
_SWAYS = 0.03  # of both numbers at once, from a pass to the next: the machine's speed
_READS = 0.1  # of the time to read the weights: who else uses the memory
_BENDS = 0.02  # of the time of a token: a line that bends, and tokens that see more before them
_SPREAD = 0.06  # of a pass: at first
_LEAST_SPREAD, _MOST_SPREAD = 0.02, 0.12  # on a machine that is worse than that no plan keeps a bound
_KEPT = 0.95  # of what the spread was, with each pass
_TICK = 1e-9  # seconds: nothing takes less
_HELD_UP = 2.5  # deviations: what a pass took longer than that says nothing of the next


class Costs:
    """Seconds of passes, by their tokens. `begin`: of any pass, `each`: more for each token; 0: nothing is known."""

    def __init__(self) -> None:
        self.begin = self.each = 0.0
        self._begin = self._both = self._each = 0.0  # variances of the two, and their covariance
        self._noise = _SPREAD**2  # variance of passes of one size, of their seconds squared

    def seconds(self, tokens: int, deviations: float = 0.0) -> float:
        """That a pass of so many tokens takes; at most, but for what is so many standard deviations off."""
        expected = self.begin + self.each * tokens
        return expected + deviations * sqrt(self._variance(tokens) + self._noise * expected**2)

    def learn(self, tokens: int, seconds: float) -> None:
        """A pass of so many tokens took so long."""
        seconds = max(seconds, _TICK)
        if not self.begin:
            self.each = seconds / (tokens + _WEIGHTS)
            self.begin = _WEIGHTS * self.each
            self._begin, self._each = (_UNKNOWN * self.begin) ** 2, (_UNKNOWN * self.each) ** 2
        self._drift()
        expected, variance = self.seconds(tokens), self._variance(tokens)
        total = variance + self._noise * expected**2
        late = seconds - expected
        gain_begin, gain_each = self._begin + tokens * self._both, self._both + tokens * self._each  # times total
        step = min(late, _HELD_UP * sqrt(total)) / total
        self.begin = max(self.begin + gain_begin * step, _TICK)
        self.each = max(self.each + gain_each * step, _TICK)
        self._begin -= gain_begin**2 / total
        self._both -= gain_begin * gain_each / total
        self._each -= gain_each**2 / total
        self._bound()
        # A pass that was early puts nobody off: the spread is that of those which were late, and as many on the other
        # side; without what is not yet known of the line. How much later one that was held up came counts no more.
        square = min(2 * max(late, 0) ** 2, 4 * total)
        noise = _KEPT * self._noise + (1 - _KEPT) * max(square - variance, 0) / expected**2
        self._noise = min(max(noise, _LEAST_SPREAD**2), _MOST_SPREAD**2)

    def _variance(self, tokens: int) -> float:
        """Of what the line says of so many tokens."""
        return max(self._begin + 2 * tokens * self._both + tokens**2 * self._each, 0.0)

    def _drift(self) -> None:
        """From a pass to the next both numbers may have changed."""
        self._begin += (_SWAYS**2 + _READS**2) * self.begin**2
        self._both += _SWAYS**2 * self.begin * self.each
        self._each += (_SWAYS**2 + _BENDS**2) * self.each**2

    def _bound(self) -> None:
        """No more doubt than there can be."""
        begin = min(1.0, _UNSURE * self.begin / sqrt(self._begin)) if self._begin > 0 else 1.0
        each = min(1.0, _UNSURE * self.each / sqrt(self._each)) if self._each > 0 else 1.0
        self._begin, self._both, self._each = self._begin * begin**2, self._both * begin * each, self._each * each**2
