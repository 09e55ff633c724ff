"""Several prompts answered together, each answer when it ends; as one does, the next prompt joins."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from localmix.answer.options import PARALLEL
from localmix.answer.scheduler import Scheduler
from localmix.answer.speaker import Speaker
from localmix.answer.text import Reason
from localmix.answer.ticket import Request, Ticket
from localmix.backends.protocol import Pause
from localmix.engine.context import Context

__all__ = ["Answer", "Batching", "Request"]


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    id: str | int
    text: str
    ids: list[int]
    reason: Reason
    seed: int
    prompt_tokens: int


class Batching:
    """Answers to many requests, in the order in which they end. Iterate once.

    `tokens` and `prompt_tokens` count what was computed so far, `active` the requests under way.
    """

    def __init__(
        self,
        speaker: Speaker,
        requests: Iterable[Request],
        *,
        parallel: int = PARALLEL,
        context: int | None = None,
        progress: Callable[["Batching"], None] | None = None,
        pause: Pause | None = None,
    ) -> None:
        """`progress` is called after every pass, `pause` before it and in it (see `localmix.backends.protocol`): what
        it raises ends all. LocalmixError: no room for `parallel` answers, or none asked for.
        """
        self._speaker, self._waiting, self._parallel = speaker, iter(requests), parallel
        self._scheduler = Scheduler(speaker.engine, parallel=parallel)
        self._cache = speaker.engine.cache(context)
        self._progress, self._pause = progress, pause

    @property
    def active(self) -> int:
        return self._scheduler.active

    @property
    def tokens(self) -> int:
        return self._scheduler.tokens

    @property
    def prompt_tokens(self) -> int:
        return self._scheduler.prompt_tokens

    def __iter__(self) -> Iterator[Answer]:
        """ContextFullError: a prompt that is too long, when its turn comes."""
        while self._fill():
            if self._pause is not None:
                self._pause()
            ended = self._scheduler.step()
            if self._progress is not None:
                self._progress(self)
            for ticket in ended:
                yield self._answer(ticket)

    def _fill(self) -> bool:
        """Submit as many as there are places; whether there is anything to do."""
        while self.active + len(self._scheduler.waiting) < self._parallel:
            request = next(self._waiting, None)
            if request is None:
                break
            self._speaker.engine.checked(request.prompt, self._cache.context)
            context = Context(self._speaker.engine, cache=self._cache)
            context.pause = self._pause
            self._scheduler.submit(Ticket(self._speaker, request, context))
        return not self._scheduler.idle

    def _answer(self, ticket: Ticket) -> Answer:
        assert ticket.context is not None
        ticket.context.free()
        if ticket.error is not None:
            raise ticket.error
        text = "".join(piece.text for piece in ticket.take())
        r = ticket.request
        return Answer(r.id, text, ticket.ids, ticket.reason, ticket.seed, len(r.prompt))
