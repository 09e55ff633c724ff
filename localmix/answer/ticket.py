"""A request under way: what of its prompt is read, and the pieces of its answer as they become certain.

The scheduler says when; here is what happens to one request then. Nothing is known of the others.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localmix.answer.draft import Draft, Drafting
from localmix.answer.options import Options
from localmix.answer.scores import Score, score
from localmix.answer.speaker import Speaker
from localmix.answer.stats import Stats
from localmix.answer.stops import Asides
from localmix.answer.text import Reason, Text
from localmix.engine.context import Context
from localmix.errors import LocalmixError
from quant.format import Floats

# Asked when the context is full, with the ids of the answer so far: a shorter prompt that ends with them, or None.
Refill = Callable[[list[int]], Sequence[int] | None]
Progress = Callable[[int, int], None]  # tokens of the prompt computed so far, and in all


@dataclass(frozen=True)
class Request:
    """One prompt. `continues`: the answer goes on where it ends, so that a space at its beginning counts.

    `scores`: each id of the answer comes with its log-probability and those of so many likely ids; with `echo` those
    of the prompt too. `routes`: each id comes with the experts of the pass that it was chosen after. `owner`: whose
    prompts may share what is computed. `shown`: control tokens that are text. `asides` makes what tells where stop
    strings do not count.
    """

    id: str | int
    prompt: Sequence[int]
    options: Options
    continues: bool = False
    scores: int | None = None
    echo: bool = False
    owner: str = ""
    shown: frozenset[int] = frozenset()
    routes: bool = False
    asides: Callable[[], Asides | None] | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """Text that is certain, and the ids that it became certain with; `routes` are the experts (L, A) of each."""

    text: str
    ids: tuple[int, ...]
    scores: tuple[Score, ...] = ()
    routes: tuple[NDArray[np.int32], ...] = ()


class Ticket:
    """One request. `pieces` are those that nobody has taken yet; `error` is why it failed, if it did."""

    def __init__(
        self, speaker: Speaker, request: Request, context: Context | None = None, refill: Refill | None = None
    ) -> None:
        """`context`: where to compute it; None: the scheduler makes one. Without `refill` a full context ends it.

        LocalmixError: a schema or grammar that is wrong.
        """
        self.request, self.context = request, context
        self.stats = Stats()
        self.progress: Progress | None = None  # told while the prompt is read
        self.pieces: deque[Piece] = deque()
        self.prompt_scores: list[Score | None] = [None]  # with `echo`: of each id of the prompt, the first has none
        self.cancelled = False  # may be set from any thread, and is obeyed before the next pass
        self.error: LocalmixError | None = None
        self.todo: list[int] = []  # ids that come next into the context
        self.reading = True  # the prompt, which is not all computed
        self.followers: list[Ticket] = []  # other answers to the same prompt
        self.options = request.options
        self.sampler = speaker.sampler(request.options)
        self.keeps_space = request.continues or self.sampler.held  # at the beginning of the text
        asides = request.asides() if request.asides is not None else None
        self.written = Text(
            speaker.tokenizer, request.options, keep_space=self.keeps_space, shown=request.shown, asides=asides
        )
        self.lent = False  # whether the context is the scheduler's
        self._again: list[int] = []  # ids of the answer that were computed before and have to be again
        self._refill = refill
        self._full = False
        self._device: Iterator[int] | None = None
        self._ids: list[int] = []
        self._scores: list[Score] = []
        self._drafting: Drafting | None = speaker.drafting
        self._draft: Draft | None = None
        self.experts: NDArray[np.int32] | None = None  # (L, A) of the last token computed, where `routes` are wanted
        self._routes: list[NDArray[np.int32]] = []

    @property
    def ids(self) -> list[int]:
        """Of the answer so far, the one that ends a text left out."""
        return self.written.ids

    @property
    def reason(self) -> Reason:
        return self.written.reason

    @property
    def seed(self) -> int:
        return self.sampler.seed

    @property
    def ended(self) -> bool:
        return self.cancelled or self.error is not None or (self.written.ended and not self.reading)

    @property
    def scored(self) -> bool:
        """Whether logits of the whole prompt are wanted."""
        return self.reading and self.request.echo and self.request.scores is not None

    def begin(self, prompt: Sequence[int] | None = None) -> None:
        """Read the prompt: what the context does not hold of it."""
        assert self.context is not None
        prompt = self.request.prompt if prompt is None else prompt
        if self.scored:
            self.context.cut(0)  # what is remembered has no logits
        done = 0 if self.scored else self.context.keep_prefix(prompt)
        if not self.ids:
            self.stats.cached_tokens = done
        self.todo, self.reading, self._full, self._device = list(prompt[done:]), True, False, None
        self._tell()

    def take_context(self, context: Context) -> None:
        """Be computed in a context of the scheduler's."""
        self.context, self.lent = context, True
        if self.request.routes:
            context.watch = self._note

    def begin_again(self) -> None:
        """The context was taken away: all is computed once more, the answer as it was chosen."""
        self._again, self.todo, self.reading = list(self.ids), [], True

    def renew(self) -> None:
        """In a context that is full, go on with less of what was before, or end."""
        if not self._full:
            return
        prompt = self._refill(self.ids) if self._refill is not None else None
        if prompt:
            self.begin(prompt)
        else:
            self.written.reason = "context"
            self._emit(self.written.rest())

    def computed(self, count: int, logits: Floats, *, on_device: bool = False) -> None:
        """The next `count` ids are in the context: logits after the last of them, or (count, V) where `scored` and of
        drafts.
        """
        if self.scored:
            self._score_prompt(count, logits)
        done, self.todo = self.todo[:count], self.todo[count:]
        if self.reading:
            self.stats.prompt_tokens += len(done)
            self._tell()
            if not self.todo:
                self.answer(logits[-1], on_device=on_device)
        elif len(done) > 1:
            self._check(done[1:], logits)
        else:
            self.stats.decode_tokens += 1
            self._go_on(logits[-1])

    def drafts(self) -> bool:
        """Whether to check ids that may come next, which are now in `todo`: for an answer that is alone."""
        if self._draft is None or self._again or self.context is None or self.context.watch is not None:
            return False
        room = self.context.size - len(self.context.ids) - 1
        if self.options.max_tokens is not None:
            room = min(room, self.options.max_tokens - len(self.ids) - 1)
        self.todo += self._draft.prepare(room)
        return len(self.todo) > 1

    def answer(self, logits: Floats, *, on_device: bool = False) -> None:
        """The prompt is read: choose the first id by the logits (V,) after it."""
        assert self.context is not None
        self.reading = False
        if not self.lent:
            self.context.mark()
        if self.written.ended:  # no answer was asked for
            self._emit("")
            return
        chooses = self.context.engine.chooses
        if on_device and chooses is not None and self.context.watch is None and self.sampler.plain:
            self._device = chooses(self.context.cache, self.context.sequence, self.context.ids, logits, self.sampler)
        elif self._drafting is not None:
            self._draft = self._drafting.begin(self.context.ids, self.sampler)
        self._go_on(logits)

    def learn(self, seconds: float) -> None:
        """The pass that this answer had to itself took so long."""
        if self._draft is not None:
            self._draft.learn(seconds)

    def chosen_on_device(self) -> bool:
        """Take the id that the device chose by itself; False if it does not."""
        if self._device is None:
            return False
        self.stats.decode_tokens += 1
        self._choose(None)
        return True

    def interrupt(self) -> None:
        """What is held back of the answer is certain: nothing comes any more."""
        self.cancelled = True
        self._emit(self.written.rest())

    def take(self) -> list[Piece]:
        """The pieces that nobody has taken."""
        taken = list(self.pieces)
        self.pieces.clear()
        return taken

    def _go_on(self, logits: Floats) -> None:
        """The next id: one that was chosen before, or a new one."""
        if self._again:
            self.todo = [self._again.pop(0)]
        else:
            self._choose(logits)

    def _check(self, ids: Sequence[int], logits: Floats) -> None:
        """The draft is computed: keep as many of its `ids` as are chosen from the logits (1 + n, V) before each."""
        assert self.context is not None
        assert self._draft is not None
        context, certain = self.context, len(self.context.ids) - len(ids)
        self.stats.drafted += len(ids)
        try:
            del context.ids[certain:]  # what is chosen may depend on all before
            for row, id in zip(logits, [*ids, None], strict=True):
                self.stats.decode_tokens += 1
                self._go_on(row)
                if self.ended or self._full or self.todo != [id]:
                    break
                context.ids.append(self.todo[0])
        finally:
            context.cut(len(context.ids))
        self._draft.taken = len(context.ids) - certain
        self.stats.taken += self._draft.taken

    def _choose(self, logits: Floats | None) -> None:
        assert self.context is not None
        try:
            if self._device is not None:
                id = next(self._device)
            else:
                assert logits is not None
                id = self.sampler(logits, self.context.ids)
                if self.request.scores is not None:
                    self._scores.append(score(logits, id, self.request.scores))
        except LocalmixError as error:
            self.error = error
            return
        text = self.written.push(id)
        self._ids.append(id)
        if self.experts is not None:
            self._routes.append(self.experts)
        self.stats.tokens = len(self.ids)
        if not self.written.ended and len(self.context.ids) >= self.context.size:
            self._full = True
            if self._refill is None:
                self.written.reason = "context"
                text += self.written.rest()
        self.todo = [id]
        if self._draft is not None:
            self._draft.push(id)
        self._emit(text)

    def _note(self, chosen: NDArray[np.int32]) -> None:
        self.experts = chosen[:, -1].copy()

    def _tell(self) -> None:
        if self.progress is not None and self.context is not None:
            done = len(self.context.ids)
            self.progress(done, done + len(self.todo))

    def _emit(self, text: str) -> None:
        if text or self.ended:
            self.pieces.append(Piece(text, tuple(self._ids), tuple(self._scores), tuple(self._routes)))
            self._ids, self._scores, self._routes = [], [], []

    def _score_prompt(self, count: int, logits: Floats) -> None:
        assert self.request.scores is not None
        for row, id in zip(logits, self.todo[1 : count + 1], strict=False):
            self.prompt_scores.append(score(row, id, self.request.scores))
