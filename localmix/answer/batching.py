"""Several prompts answered together: a pass reads each weight once for all of them.

As one answer ends the next prompt joins, read in the passes in which the others go on. Each has a sequence of its
own, and what is computed for one does not depend on who else is there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localmix.answer.generate import checked
from localmix.answer.options import PARALLEL, Options
from localmix.answer.sampling import Sampler
from localmix.answer.text import Reason, Text
from localmix.engine.batch import Batch, cut
from localmix.errors import LocalmixError
from quant.format import Floats

if TYPE_CHECKING:
    from localmix.backends.watch import Pause
    from localmix.model import Model


@dataclass(frozen=True)
class Request:
    """One prompt. `continues`: the answer goes on where it ends, so that a space at its beginning counts."""

    id: str | int
    prompt: Sequence[int]
    options: Options
    continues: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    id: str | int
    text: str
    ids: list[int]
    reason: Reason
    seed: int
    prompt_tokens: int


@dataclass
class _Row:
    """A request under way. `ids[:computed]` are in the cache."""

    request: Request
    sequence: int
    text: Text
    sampler: Sampler
    ids: list[int]
    computed: int = 0
    pieces: list[str] = field(default_factory=list)

    def take(self, id: int, room: int) -> None:
        """The next id of the answer; `room` is how many ids the context holds."""
        self.pieces.append(self.text.push(id))
        self.ids.append(id)
        if not self.text.ended and len(self.ids) > room:
            self.text.reason = "context"
            self.pieces.append(self.text.rest())

    def answer(self) -> Answer:
        r, text = self.request, "".join(self.pieces)
        return Answer(r.id, text, self.text.ids, self.text.reason, self.sampler.seed, len(r.prompt))


class Batching:
    """Answers to many requests, in the order in which they end. Iterate once.

    `tokens` and `prompt_tokens` count what was computed so far, `active` the requests under way.
    """

    def __init__(
        self,
        model: "Model",
        requests: Iterable[Request],
        *,
        parallel: int = PARALLEL,
        context: int | None = None,
        progress: Callable[["Batching"], None] | None = None,
        pause: "Pause | None" = None,
    ) -> None:
        """`progress` is called after every pass, `pause` before it and in it (see `localmix.backends.watch`): what it
        raises ends all. LocalmixError: no room for `parallel` answers, or none asked for.
        """
        if parallel < 1:
            raise LocalmixError(f"parallel = {parallel}: expected 1 or more")
        self.tokens = self.prompt_tokens = 0
        self._model, self._waiting, self._parallel = model, iter(requests), parallel
        self._cache: Any = model.cache(context)
        self._rows: list[_Row] = []
        self._progress, self._pause = progress, pause

    @property
    def active(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Answer]:
        """ContextFullError: a prompt that is too long, when its turn comes."""
        while self._join():
            self._advance()
            ended = [row for row in self._rows if row.text.ended]
            self._rows = [row for row in self._rows if not row.text.ended]
            if self._progress is not None:
                self._progress(self)
            for row in ended:
                self._cache.free(row.sequence)
                yield row.answer()

    def _join(self) -> bool:
        """Fill the free places; whether there is anything to do."""
        while len(self._rows) < self._parallel and (request := next(self._waiting, None)) is not None:
            ids = checked(request.prompt, self._model, self._cache.context)
            sampler = self._model.sampler(request.options)
            text = Text(self._model.tokenizer, request.options, keep_space=request.continues or sampler.held)
            self._rows.append(_Row(request, self._cache.new(), text, sampler, ids))
        return bool(self._rows)

    def _advance(self) -> None:
        """One pass: a token of every answer, and of the prompts as many as there is room for."""
        if self._pause is not None:
            self._pause()
        taking, room = [], self._model.chunk
        for row in sorted(self._rows, key=lambda row: len(row.ids) - row.computed):  # answers first
            if count := cut(len(row.ids) - row.computed, room):
                taking.append((row, count))
                room -= count
        parts = [(row.sequence, row.computed, row.ids[row.computed :][:count]) for row, count in taking]
        logits = self._model.forward(Batch.of(parts), self._cache, pause=self._pause)  # (rows, V)
        for (row, count), after in zip(taking, logits, strict=True):
            self._took(row, count, after)

    def _took(self, row: _Row, count: int, logits: Floats) -> None:
        prompt = len(row.request.prompt)
        self.prompt_tokens += min(count, max(prompt - row.computed, 0))
        row.computed += count
        if row.computed == len(row.ids) and not row.text.ended:
            row.take(row.sampler(logits, row.ids), self._cache.context)
            self.tokens += row.text.reason != "end"
