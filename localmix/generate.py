"""From a prompt to text: the prompt in chunks, then one id at a time until something ends it.

Every answer of the program comes through here. What a prompt is made of, and who reads the text, is not known.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import astuple, dataclass
from threading import Event
from time import perf_counter
from typing import Literal

from localmix.batch import CHUNK
from localmix.context import Context
from localmix.errors import ContextFullError, LocalmixError
from localmix.options import Options
from localmix.sampling import Sampler
from localmix.stops import Stops
from quant.format import Floats

Progress = Callable[[int, int], None]  # tokens of the prompt computed so far, and in all
Reason = Literal["end", "stop", "length", "context", "interrupted"]


@dataclass
class Stats:
    """What was computed, and in how many seconds."""

    cached_tokens: int = 0  # of the prompt, found in the cache
    prompt_tokens: int = 0  # of the prompt, computed
    prompt_seconds: float = 0.0
    tokens: int = 0  # of the answer
    decode_tokens: int = 0  # of the answer, computed: all but the last
    decode_seconds: float = 0.0

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


class Generation(Iterator[str]):
    """Text in pieces, as it is generated: iterate, or `read` all of it.

    `ids` are those generated so far, the one that ends a text left out; `text` is what was given out so far.
    `reason` says why it ended: "end" by the model, "stop" by a stop string, "length" by max_tokens, "context"
    when that is full, "interrupted" by `cancel`, an exception or `close`, and as long as it has not ended.
    """

    def __init__(
        self,
        context: Context,
        prompt: Sequence[int],
        options: Options,
        *,
        continues: bool = False,
        progress: Progress | None = None,
        cancel: Event | None = None,
        on_end: Callable[["Generation"], None] | None = None,
    ) -> None:
        """Checks the prompt; nothing is computed before the first piece is asked for.

        `continues`: the text goes on where the prompt ends, so that a space at its beginning counts. `on_end` is
        called once if the generation ever began, however it ended. ContextFullError: the prompt is too long.
        """
        self.ids: list[int] = []
        self.text = ""
        self.reason: Reason = "interrupted"
        self.stats = Stats()
        self._context = context
        self._tokenizer = context.model.tokenizer
        self._prompt = _checked(prompt, context)
        self._options = options
        self._sampler = Sampler(options)
        self._progress = progress or _no_progress
        self._cancel = cancel
        self._on_end = on_end
        self._pieces = self._run(continues)

    @property
    def room(self) -> int:
        """Tokens that the context holds, prompt and answer."""
        return self._context.size

    @property
    def seed(self) -> int:
        """The seed in use: give it again for the same text."""
        return self._sampler.seed

    def __next__(self) -> str:
        start, before = perf_counter(), self.stats.prompt_seconds
        try:
            piece = next(self._pieces)
            self.text += piece
            return piece
        finally:  # all time in here that was not the prompt's; the reader's own does not count
            self.stats.decode_seconds += perf_counter() - start - (self.stats.prompt_seconds - before)

    def read(self) -> str:
        """Generate to the end: the whole text."""
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        """End it here."""
        self._pieces.close()

    def _run(self, continues: bool) -> Generator[str]:
        stream = self._tokenizer.stream(keep_space=continues)
        stops = Stops(self._options.stop)
        try:
            for id in self._choose():
                if piece := stops.push(stream.push(id)):
                    yield piece
                if stops.found:
                    self.reason = "stop"
                    return
            if piece := stops.push(stream.flush()) + stops.flush():
                yield piece
        finally:
            if self._on_end is not None:
                self._on_end(self)

    def _choose(self) -> Iterator[int]:
        """Ids until the end, and `reason`. The last one is not computed: the next prompt may not want it."""
        room = self._context.size - len(self._prompt) + 1
        limit = min(self._options.max_tokens or room, room)
        logits = self._prefill()
        if logits is None or self._cancelled():
            return
        for computed, id in enumerate(self._context.choices(logits, self._sampler)):
            self.stats.decode_tokens = computed
            if id in self._tokenizer.end_ids:
                self.reason = "end"
                return
            self.ids.append(id)
            self.stats.tokens += 1
            yield id
            if len(self.ids) == limit:
                self.reason = "length" if limit == self._options.max_tokens else "context"
                return
            if self._cancelled():
                return

    def _prefill(self) -> Floats | None:
        """Logits (V,) after the prompt; None if it was cancelled."""
        start, total = perf_counter(), len(self._prompt)
        logits = None
        done = self.stats.cached_tokens = self._context.keep_prefix(self._prompt)
        self._progress(done, total)
        while done < total and not self._cancelled():
            chunk = self._prompt[done : done + CHUNK]
            logits = self._context.advance(chunk)
            done += len(chunk)
            self.stats.prompt_tokens += len(chunk)
            self.stats.prompt_seconds = perf_counter() - start
            self._progress(done, total)
        return logits if done == total else None

    def _cancelled(self) -> bool:
        return self._cancel is not None and self._cancel.is_set()


def _checked(prompt: Sequence[int], context: Context) -> list[int]:
    """The ids of a prompt that can be computed."""
    size, most = context.size, context.model.config.context
    if not len(prompt):
        raise LocalmixError("the prompt is empty, and this model has no id that begins a text: give it some text")
    if len(prompt) > size:
        more = f", or raise the context (--ctx), up to {most}" if size < most else ""
        raise ContextFullError(f"the prompt has {len(prompt)} tokens, the context holds {size}: shorten it{more}")
    context.model.check(prompt)
    return list(prompt)


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""
