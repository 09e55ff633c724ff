"""One answer, as an iterator of its pieces: the scheduler's passes, one after the other, for whoever reads it.

What a prompt is made of, and who reads the text, is not known.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from threading import Event

from localmix.answer.options import Options
from localmix.answer.scheduler import Scheduler
from localmix.answer.speaker import Speaker
from localmix.answer.stats import Stats
from localmix.answer.stops import Asides
from localmix.answer.text import Reason
from localmix.answer.ticket import Progress, Refill, Request, Ticket
from localmix.engine.context import Context

__all__ = ["Generation", "Progress", "Refill", "Stats"]


class Generation(Iterator[str]):
    """Text in pieces, as it is generated: iterate, or `read` all of it.

    `ids` are those generated so far, the one that ends a text left out; `text` is what was given out so far.
    `reason` says why it ended: "end" by the model, "stop" by a stop string, "length" by max_tokens, "context"
    when that is full, "interrupted" by `cancel`, an exception or `close`, and as long as it has not ended.
    """

    def __init__(
        self,
        speaker: Speaker,
        context: Context,
        prompt: Sequence[int],
        options: Options,
        *,
        continues: bool = False,
        shown: frozenset[int] = frozenset(),
        asides: Callable[[], Asides | None] | None = None,
        progress: Progress | None = None,
        cancel: Event | None = None,
        on_end: Callable[["Generation"], None] | None = None,
        refill: Refill | None = None,
    ) -> None:
        """Checks the prompt; nothing is computed before the first piece is asked for.

        `continues`, `shown`, `asides`: see `localmix.answer.ticket.Request`. `on_end` is
        called once if the generation ever began, however it ended. Without `refill` a full context ends it.
        ContextFullError: the prompt is too long.
        """
        self.text = ""
        ids = context.engine.checked(prompt, context.size)
        request = Request(0, ids, options, continues, shown=shown, asides=asides)
        self._ticket = Ticket(speaker, request, context, refill)
        self._context = context
        self._ticket.progress = progress
        self._cancel = cancel
        self._on_end = on_end
        self._pieces = self._run()

    @property
    def stats(self) -> Stats:
        return self._ticket.stats

    @property
    def ids(self) -> list[int]:
        return self._ticket.ids

    @property
    def reason(self) -> Reason:
        return self._ticket.reason

    @property
    def room(self) -> int:
        """Tokens that the context holds, prompt and answer."""
        return self._context.size

    @property
    def options(self) -> Options:
        """All of them, recommended ones among them."""
        return self._ticket.options

    @property
    def seed(self) -> int:
        """The seed in use: give it again for the same text."""
        return self._ticket.seed

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    def read(self) -> str:
        """Generate to the end: the whole text."""
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        """End it here."""
        self._pieces.close()

    def _run(self) -> Generator[str]:
        scheduler, ticket = Scheduler(self._context.engine, parallel=1), self._ticket
        try:
            scheduler.submit(ticket)
            while not ticket.ended:
                if self._cancel is not None and self._cancel.is_set():
                    ticket.interrupt()
                else:
                    scheduler.step()
                yield from (piece.text for piece in ticket.take() if piece.text)
            if ticket.error is not None:
                raise ticket.error
        finally:
            if self._on_end is not None:
                self._on_end(self)
