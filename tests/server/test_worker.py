"""The thread that computes: the answers of a pass are handed over together, and waiting for them ends in time."""

import asyncio
import queue
import time
from collections.abc import Callable

from small_models import STORIES

import localmix
from localmix.answer.options import Options
from localmix.answer.scheduler import Scheduler
from localmix.answer.ticket import Piece, Request, Ticket
from localmix.server.metrics import Metrics
from localmix.server.stream import Stream
from localmix.server.worker import Worker


def test_the_listeners_of_a_pass_are_called_together() -> None:
    """One call a pass, not one an answer: each wakes the thread that sends."""
    model = localmix.load(STORIES, "numba")
    worker = Worker(lambda: Scheduler(model.engine, parallel=4), lambda: None, 8, Metrics())
    calls, told = queue.Queue[Callable[[], None]](), list[tuple[Ticket, list[Piece], bool]]()
    worker.call = calls.put
    worker.start()
    while worker.state == "loading":
        time.sleep(0.01)
    ids = model.tokenizer.encode("Once upon a time")
    one, *others = (Ticket(model, Request(i, ids, Options(temp=0, max_tokens=6))) for i in range(4))
    worker.submit([one, *others], lambda ticket, pieces, ended: told.append((ticket, pieces, ended)))
    count = 0
    while sum(ended for _, _, ended in told) < 4:
        calls.get(timeout=30)()
        count += 1
    assert count <= 7
    assert len({"".join(p.text for t, pieces, _ in told if t is one for p in pieces) for one in (one, *others)}) == 1


def test_waiting_for_an_event_has_an_end() -> None:
    class Nobody:
        def submit(self, tickets: list[Ticket], listener: object) -> None: ...
        def cancel(self, tickets: list[Ticket]) -> None: ...

    async def wait() -> object:
        stream = Stream(Nobody(), [])  # type: ignore[arg-type]
        return await stream.next(0.01)

    assert asyncio.run(wait()) is None
