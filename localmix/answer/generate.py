"""From a prompt to text: the prompt in chunks, then one id at a time until something ends it.

Every answer of the program comes through here. What a prompt is made of, and who reads the text, is not known.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

from localmix.answer.options import Options
from localmix.answer.text import Reason, Text
from localmix.engine.batch import cut
from localmix.engine.context import Context
from localmix.errors import ContextFullError, LocalmixError
from quant.format import Floats

if TYPE_CHECKING:
    from localmix.model import Model

Progress = Callable[[int, int], None]  # tokens of the prompt computed so far, and in all
# Asked when the context is full, with the ids of the answer so far: a shorter prompt that ends with them, or None.
Refill = Callable[[list[int]], Sequence[int] | None]


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
        refill: Refill | None = None,
    ) -> None:
        """Checks the prompt; nothing is computed before the first piece is asked for.

        `continues`: the text goes on where the prompt ends, so that a space at its beginning counts. `on_end` is
        called once if the generation ever began, however it ended. Without `refill` a full context ends it.
        ContextFullError: the prompt is too long.
        """
        self.text = ""
        self.stats = Stats()
        self._context = context
        self._prompt = checked(prompt, context.model, context.size)
        self._sampler = context.model.sampler(options)
        self._written = Text(context.model.tokenizer, options, keep_space=continues or self._sampler.held)
        self._progress = progress or _no_progress
        self._cancel = cancel
        self._on_end = on_end
        self._refill = refill
        self._pieces = self._run()

    @property
    def ids(self) -> list[int]:
        return self._written.ids

    @property
    def reason(self) -> Reason:
        return self._written.reason

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

    def _run(self) -> Generator[str]:
        try:
            for id in self._choose():
                if piece := self._written.push(id):
                    yield piece
                self.stats.tokens = len(self.ids)
                if self._written.ended:
                    return
            if piece := self._written.rest():
                yield piece
        finally:
            if self._on_end is not None:
                self._on_end(self)

    def _choose(self) -> Iterator[int]:
        """Ids until the context is full or `cancel`. The last one is not computed: the next prompt may not want it."""
        prompt: Sequence[int] | None = self._prompt
        while prompt:
            logits = self._prefill(prompt)
            if logits is None or self._cancelled() or self._written.ended:
                return
            before, room = self.stats.decode_tokens, self._context.size - len(prompt) + 1
            for computed, id in enumerate(islice(self._context.choices(logits, self._sampler), room)):
                self.stats.decode_tokens = before + computed
                yield id
                if self._cancelled():
                    return
            prompt = self._refill(self.ids) if self._refill else None
        self._written.reason = "context"

    def _prefill(self, prompt: Sequence[int]) -> Floats | None:
        """Logits (V,) after the prompt; None if it was cancelled."""
        start, total, before = perf_counter(), len(prompt), self.stats.prompt_seconds
        logits = None
        done = self._context.keep_prefix(prompt)
        if not self.ids:
            self.stats.cached_tokens = done
        self._progress(done, total)
        while done < total and not self._cancelled():
            chunk = prompt[done : done + cut(total - done, self._context.model.chunk)]
            logits = self._context.advance(chunk)
            done += len(chunk)
            self.stats.prompt_tokens += len(chunk)
            self.stats.prompt_seconds = before + perf_counter() - start
            self._progress(done, total)
        return logits if done == total else None

    def _cancelled(self) -> bool:
        return self._cancel is not None and self._cancel.is_set()


def checked(prompt: Sequence[int], model: "Model", size: int) -> list[int]:
    """The ids of a prompt that can be computed in a context of `size` tokens."""
    most = model.config.context
    if not len(prompt):
        raise LocalmixError("the prompt is empty, and this model has no id that begins a text: give it some text")
    if len(prompt) > size:
        more = f", or raise the context (--ctx), up to {most}" if size < most else ""
        raise ContextFullError(f"the prompt has {len(prompt)} tokens, the context holds {size}: shorten it{more}")
    model.check(prompt)
    return list(prompt)


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""
