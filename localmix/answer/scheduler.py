"""Requests answered together: each step is one pass with a token of every answer and a piece of the prompts.

A pass reads each weight once for all of them. Prompts that would take many such passes are read layer after layer
instead (`localmix.answer.reading`), and a step is a layer, or a pass of the others. What is computed for one does not
depend on who else is there, nor on how its prompt was cut. Everything here runs in one thread; only `Ticket.cancelled`
may be set from others.
"""

from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from localmix.answer.options import PARALLEL
from localmix.answer.pace import Pace
from localmix.answer.reading import Reading, shared
from localmix.answer.ticket import Ticket
from localmix.engine.batch import CHUNK
from localmix.engine.context import advance
from localmix.engine.engine import Engine
from localmix.engine.prefixes import Prefixes
from localmix.errors import LocalmixError

_ANSWER = 256  # tokens of an answer for which there is room when it begins
_LEAST = 4  # tokens of a prompt for which `cut` always finds a way


class Scheduler:
    """`tokens` and `prompt_tokens` count what was computed so far, of answers and of prompts."""

    def __init__(
        self,
        engine: Engine,
        *,
        parallel: int = PARALLEL,
        context: int | None = None,
        gap: float | None = None,
        budget: int | None = 0,
    ) -> None:
        """`parallel`: answers under way at once. `context`: tokens of each. `gap`: seconds that an answer waits for
        its next token, at most, while prompts are read; None: prompts are read as fast as they can be. `budget`:
        bytes of keys and values, of answers and of prompts that are remembered; 0: nothing is remembered, None: all.

        LocalmixError: no room for `parallel` answers, or none asked for.
        """
        if parallel < 1:
            raise LocalmixError(f"parallel = {parallel}: expected 1 or more")
        self.tokens = self.prompt_tokens = 0
        self.waiting: deque[Ticket] = deque()
        self.rows: list[Ticket] = []
        self._engine, self._parallel, self._size = engine, parallel, context
        self._pace = Pace(gap)
        self._before: float | None = None  # when the last pass ended, unless there was nothing to do since
        self._answered = 0.0  # when answers had their latest tokens
        self._reading: Reading | None = None  # a pass that is left between layers
        self._layers = 0  # computed since then
        self._owed = 0.0  # seconds for which short prompts were read, and that longer ones have not had since
        self._apart = gap is not None and engine.parts > 1
        self._budget = budget
        self._prefixes: Prefixes | None = None

    @property
    def active(self) -> int:
        """Answers under way."""
        return sum(1 + len(ticket.followers) for ticket in self.rows)

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes of keys and values in use, and tokens of prompts that are remembered."""
        known = self._prefixes
        return (0, 0) if known is None else (known.cache.nbytes, known.tokens)

    @property
    def idle(self) -> bool:
        return not self.rows and not self.waiting

    def submit(self, ticket: Ticket, *others: Ticket) -> None:
        """Answer a request when its turn comes. `others` are more answers to the same prompt."""
        if 1 + len(others) > self._parallel:
            raise LocalmixError(f"{1 + len(others)} answers to one prompt: expected 1 to {self._parallel} (--parallel)")
        ticket.followers = list(others)
        self.waiting.append(ticket)

    def step(self) -> list[Ticket]:
        """One pass; the tickets that ended with it. What `pause` of a context raises ends the pass."""
        ended = self._leave()
        self._make_room()
        self._join()
        for ticket in self.rows:
            ticket.renew()
        if any(not ticket.ended for ticket in self.rows):
            before = sum(len(ticket.ids) for ticket in self.rows)
            self._advance()
            self.tokens += sum(len(ticket.ids) for ticket in self.rows) - before
        ended += self._leave()
        if self.idle:
            self._before, self._owed = None, 0.0
        return ended

    def _leave(self) -> list[Ticket]:
        """Those who have ended give their places back."""
        gone = [ticket for ticket in self.waiting if ticket.ended]
        if gone:
            self.waiting = deque(ticket for ticket in self.waiting if not ticket.ended)
        if self._reading is not None and self._reading.ended:
            self._give_up()
        gone += [ticket for ticket in self.rows if ticket.ended and not self._busy(ticket)]
        self.rows = [ticket for ticket in self.rows if not ticket.ended or self._busy(ticket)]
        for ticket in gone:
            self._free(ticket)
        return [one for ticket in gone for one in (ticket, *ticket.followers)]

    def _join(self) -> None:
        while self.waiting and self.active + 1 + len(self.waiting[0].followers) <= self._parallel:
            if self.rows and not self._has_room(self.waiting[0]):
                return
            ticket = self.waiting.popleft()
            if ticket.context is None:
                ticket.take_context(self._known().begin(ticket.request.owner, list(ticket.request.prompt)))
            ticket.begin()
            self.rows.append(ticket)

    def _known(self) -> Prefixes:
        """The prompts that are remembered, in a cache that is made with the first of them."""
        if self._prefixes is None:
            cache = self._engine.cache(self._size)
            self._prefixes = Prefixes(self._engine, cache, self._budget)
        return self._prefixes

    def _has_room(self, ticket: Ticket) -> bool:
        """Whether the prompt and the beginning of its answer fit beside those that are here."""
        if ticket.context is not None or not self._budget:
            return True
        known = self._known()
        room = min(len(ticket.request.prompt) + _ANSWER, known.cache.context)
        return known.shrink(known.cache.needs(room) * (1 + len(ticket.followers)))

    def _make_room(self) -> None:
        """Where answers have grown over the budget, what is remembered goes, then the youngest waits again."""
        if not self._budget or self._prefixes is None:
            return
        growing = len(self.rows) * self._prefixes.cache.page_bytes
        while not self._prefixes.shrink(growing) and len(own := [t for t in self.rows if t.lent]) > 1:
            youngest = own[-1]
            if self._busy(youngest):
                self._give_up()
            self.rows.remove(youngest)
            self._free(youngest)
            youngest.begin_again()
            self.waiting.appendleft(youngest)

    def _free(self, ticket: Ticket) -> None:
        """Take back a context that was lent; what was read of the prompt is remembered."""
        if ticket.context is None or not ticket.lent:
            return
        if self._budget != 0 and ticket.reading:
            self._known().keep(ticket.request.owner, ticket.context, len(ticket.context.ids))
        ticket.context.free()
        ticket.context = None

    def _advance(self) -> None:
        start = perf_counter()
        if len(self.rows) == 1 and self.rows[0].chosen_on_device():
            self._spent(self.rows, [], perf_counter() - start)
            return
        answering = [ticket for ticket in self.rows if not ticket.ended and not ticket.reading]
        reading = [ticket for ticket in self.rows if not ticket.ended and ticket.reading]
        room = max(self._pace.room(self._engine.chunk, len(answering)), _LEAST)
        if self._reading is None and self._apart and sum(len(ticket.todo) for ticket in reading) > room:
            self._begin(answering, reading)
        if self._reading is not None:
            joining = self._joining(reading)
            if not joining and self._layer(answering):
                return
            reading = joining
        if answering and self._layers:  # they have waited for a layer
            reading = []
        self._pass(answering, shared(reading, room, fair=self._pace.gap is not None))

    def _pass(self, answering: list[Ticket], reading: list[tuple[Ticket, int]]) -> None:
        """A pass with a token of every answer and pieces of prompts."""
        start = perf_counter()
        alone = len(self.rows) == 1 and len(answering) == 1
        drafted = alone and answering[0].drafts()
        taking = [(ticket, len(ticket.todo)) for ticket in answering] + reading
        parts = [(ticket.context, ticket.todo[:count]) for ticket, count in taking if ticket.context is not None]
        every = [ticket.scored or drafted for ticket, _ in taking]
        self._all_computed(taking, every, advance(parts, every=every, apart=drafted))
        end = perf_counter()
        seconds = end - start
        if alone:
            answering[0].learn(seconds)
        if not drafted:  # what lies between two passes is part of a gap
            tokens = sum(count for _, count in taking)
            self._pace.learn(tokens, end - (self._before or start), answers=not reading)
        self._before = self._answered = end
        self._layers = 0
        if reading:
            self._owed = self._owed + seconds if self._reading is not None else 0.0
        self._spent(answering, [ticket for ticket, _ in reading], seconds)

    def _joining(self, reading: list[Ticket]) -> list[Ticket]:
        """Those whose prompts are less than half as long as the longest, and are read between its layers: for no more
        time than these take.
        """
        if self._owed > 0:
            return []
        longest = max((len(ticket.todo) for ticket in reading), default=0)
        return [ticket for ticket in reading if not self._busy(ticket) and 2 * len(ticket.todo) < longest]

    def _begin(self, answering: list[Ticket], reading: list[Ticket]) -> None:
        """Read prompts layer after layer, if that is sooner done; short ones come first."""
        room = self._pace.between(CHUNK, len(answering), self._engine.parts)
        short = self._joining(reading)
        shares = shared([ticket for ticket in reading if ticket not in short], room)
        if shares:
            self._reading = Reading(shares)

    def _layer(self, answering: list[Ticket]) -> bool:
        """Compute another layer of long prompts, unless it is the answers' turn; whether it was computed."""
        start, one, answers = perf_counter(), self._reading, len(answering)
        assert one is not None
        waits = one.ending or self._pace.waits(one.tokens, answers, start - self._answered)
        if answers and self._layers and not waits:
            return False
        logits = one.layer()
        end = perf_counter()
        seconds = end - start
        self._layers, self._owed = self._layers + 1, max(self._owed - seconds, 0.0)
        if logits is None:
            self._pace.learn_layer(one.tokens, end - (self._before or start))
        else:  # of the last layer only what follows is computed
            self._reading = None
            if not answers:
                self._answered, self._layers = end, 0
            self._all_computed(one.taking, one.every, logits)
            self._spent([], [ticket for ticket, _ in one.taking], end - one.began)
        self._before = end
        self._spent(answering, [], seconds)
        return True

    def _busy(self, ticket: Ticket) -> bool:
        """Whether a pass that is not over reads its prompt."""
        return self._reading is not None and ticket in self._reading

    def _give_up(self) -> None:
        """End a pass before its last layer; what it would have read is read again."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _all_computed(self, taking: list[tuple[Ticket, int]], every: list[bool], logits: Any) -> None:
        """Those who took part go on by their rows of the logits (W, V)."""
        row = 0
        for (ticket, count), whole in zip(taking, every, strict=True):
            rows = count if whole else 1
            self._computed(ticket, count, logits[row : row + rows])
            row += rows

    def _computed(self, ticket: Ticket, count: int, logits: Any) -> None:
        reading = ticket.reading
        ticket.computed(count, logits, on_device=self._parallel == 1)
        self.prompt_tokens += count if reading else 0
        if reading and ticket.context is not None and len(ticket.context.ids) == ticket.context.branch:
            self._known().keep(ticket.request.owner, ticket.context, ticket.context.branch)
        if reading and not ticket.reading:
            if self._budget != 0 and ticket.lent and ticket.context is not None:
                self._known().keep(ticket.request.owner, ticket.context, len(ticket.request.prompt))
            self._follow(ticket, logits[-1])

    def _follow(self, ticket: Ticket, logits: Any) -> None:
        """The prompt is read: the other answers to it begin where it ends."""
        followers, ticket.followers = ticket.followers, []
        for other in followers:
            assert ticket.context is not None
            other.take_context(ticket.context.fork())
            other.stats.cached_tokens, other.prompt_scores = len(ticket.context.ids), ticket.prompt_scores
            other.experts = ticket.experts
            other.answer(logits)
            self.rows.append(other)

    def _spent(self, answering: Sequence[Ticket], reading: Sequence[Ticket], seconds: float) -> None:
        for ticket in answering:
            ticket.stats.decode_seconds += seconds
        for ticket in reading:
            ticket.stats.prompt_seconds += seconds
