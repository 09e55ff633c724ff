"""A bar while a long prompt is read, with the time that is left. It moves between two reports of what is done."""

import threading
from collections.abc import Callable
from time import monotonic

from rich.text import Text

from localmix.cli.terminal.themes import Theme

_PATIENCE = 0.4  # seconds: what takes less needs no bar
_TICK = 0.2  # seconds
_BAR = 24  # columns


class Bar:
    """Drawn by a thread of its own while the prompt is computed. `draw` shows a line in the place of the last one."""

    def __init__(self, draw: Callable[[Text], None], columns: Callable[[], int], theme: Theme) -> None:
        self._draw, self._columns, self._theme = draw, columns, theme
        self._begun = self._last = 0.0
        self._first = self._done = self._total = 0
        self._rate = 0.0  # tokens a second, of this prompt, or of the one before
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` tokens are computed."""
        now = monotonic()
        if self._thread is None and done < total:
            self._begun, self._first = now, done
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        elif done > self._done and now > self._begun:
            self._rate = (done - self._first) / (now - self._begun)
        self._done, self._total, self._last = done, total, now
        if done >= total:
            self.end()

    def end(self) -> None:
        """Take it away; does nothing where there is none."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
            self._done = 0

    def _run(self) -> None:
        if self._ended.wait(_PATIENCE):
            return
        while True:
            self._draw(self.line(monotonic()))
            if self._ended.wait(_TICK):
                break
        self._draw(Text())

    def line(self, now: float) -> Text:
        """What the bar says at the time `now`."""
        guess = self._done + self._rate * (now - self._last)
        done = min(guess, self._total - 1, self._done + 512)  # at most the chunk that is being computed
        text = f"reading {int(done):,} of {self._total:,} tokens"
        left = f" {_duration((self._total - done) / self._rate)} left" if self._rate else ""
        room = min(_BAR, self._columns() - len(text) - len(left) - 2)
        bar = ""
        if room >= 4:
            full = int(done / self._total * room)
            bar = " " + self._theme.sign("full") * full + self._theme.sign("empty") * (room - full)
        return self._theme.styled((text + bar + left)[: max(self._columns() - 1, 1)], "quiet")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
