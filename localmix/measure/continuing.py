"""Texts that continue many prompts, several at once; what all prompts begin with is computed once."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from localmix.answer.options import Options
from localmix.answer.scheduler import Scheduler
from localmix.answer.ticket import Request, Ticket
from localmix.engine.batch import cut
from localmix.engine.context import Context
from localmix.measure.prefixes import WORTH, alike_up_to

if TYPE_CHECKING:
    from localmix.model import Model

Progress = Callable[[int, int], None]
"""Called with the texts that are complete, and how many there will be."""


class Continuing:
    """Continues prompts with one model, in contexts of `size` tokens, `parallel` at once."""

    def __init__(self, model: "Model", size: int, parallel: int) -> None:
        """LocalmixError: such a context cannot be had."""
        self._model, self._parallel = model, parallel
        self._shared = Context(model.engine, size)

    def texts(
        self, prompts: Sequence[Sequence[int]], options: Sequence[Options], progress: Progress | None = None
    ) -> list[str]:
        """In the order of the prompts. LocalmixError: ids that are none, or a prompt too long."""
        self._read(prompts)
        scheduler = Scheduler(self._model.engine, parallel=self._parallel)
        found, done, waiting = [""] * len(prompts), 0, list(range(len(prompts)))[::-1]
        while waiting or not scheduler.idle:
            while waiting and scheduler.active + len(scheduler.waiting) < self._parallel:
                number = waiting.pop()
                scheduler.submit(self._ticket(number, prompts[number], options[number]))
            for ticket in scheduler.step():
                if ticket.error is not None:
                    raise ticket.error
                found[int(ticket.request.id)] = "".join(piece.text for piece in ticket.take())
                assert ticket.context is not None
                ticket.context.free()
                done += 1
                if progress is not None:
                    progress(done, len(prompts))
        return found

    def _read(self, prompts: Sequence[Sequence[int]]) -> None:
        """What all begin with, but for their last two ids: one alone would be computed as decoding does."""
        for prompt in prompts:
            self._model.engine.checked(prompt, self._shared.size)
        begin = min(map(list, prompts), default=[])
        length = min((min(alike_up_to(begin, prompt), len(prompt) - 2) for prompt in prompts), default=0)
        ids = begin[: length if length >= WORTH else 0]
        done = self._shared.keep_prefix([*ids, -1])
        while done < len(ids) and (count := cut(len(ids) - done, self._model.engine.chunk)):
            self._shared.advance(ids[done : done + count])
            done += count

    def _ticket(self, number: int, prompt: Sequence[int], options: Options) -> Ticket:
        ids = self._model.engine.checked(prompt, self._shared.size)
        return Ticket(self._model, Request(number, ids, options, continues=True), self._shared.fork())
