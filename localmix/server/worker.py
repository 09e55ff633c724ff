"""The thread that computes: it owns the scheduler, takes requests from a queue and hands pieces to whoever listens.

HTTP never waits for it. What fails in a pass fails the requests of that pass, and no others; an engine that fails
again and again is given up, and the server says so.
"""

import logging
import threading
import traceback
from collections.abc import Callable, Sequence

from localmix.answer.scheduler import Scheduler
from localmix.answer.ticket import Piece, Ticket
from localmix.errors import LocalmixError
from localmix.server.errors import ApiError
from localmix.server.metrics import Metrics, Watch

_FAILURES = 3  # passes in a row
_RETRY = 5  # seconds
_TOGETHER = 0.005  # seconds between requests that come together
# Told of pieces, and with the last of them that a ticket has ended: see `Worker.call`.
Listener = Callable[[Ticket, list[Piece], bool], None]


class EngineError(LocalmixError):
    """A pass failed: not the request's fault."""


class Worker:
    """`state`: "loading", "ready", "draining" or "failed"."""

    def __init__(self, make: Callable[[], Scheduler], warm: Callable[[], None], queue: int, metrics: Metrics) -> None:
        """`make` gives a new scheduler, `warm` computes something once, `queue` is how many requests may wait."""
        self.state = "loading"
        self.scheduler = make()
        self._make, self._warm, self._most = make, warm, queue
        self._inbox: list[list[tuple[Ticket, Listener, Watch]]] = []
        self._metrics = metrics
        self._listeners: dict[int, tuple[Ticket, Listener, Watch]] = {}
        self.on_failed: Callable[[], None] = lambda: None
        # Calls what tells all listeners of a pass: in another thread, to be woken once for all of them, or in this one.
        self.call: Callable[[Callable[[], None]], None] = lambda tell: tell()
        self._changed = threading.Condition()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests without a place."""
        return len(self._inbox) + len(self.scheduler.waiting)

    @property
    def running(self) -> int:
        """Answers under way."""
        return self.scheduler.active

    def submit(self, tickets: Sequence[Ticket], listener: Listener) -> None:
        """Answer one prompt, as often as there are tickets. ApiError: not now."""
        with self._changed:
            if self.state == "loading":
                raise ApiError(503, "the model is being loaded", retry=_RETRY)
            if self.state != "ready":
                raise ApiError(503, f"the server is {self.state}", retry=_RETRY)
            if self.waiting >= self._most:
                raise ApiError(429, f"{self.waiting} requests wait already: try again later", retry=_RETRY)
            watched = [(ticket, listener, self._metrics.watch(ticket)) for ticket in tickets]
            self._inbox.append(watched)
            self._changed.notify()

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """End answers, whatever state they are in."""
        for ticket in tickets:
            ticket.cancelled = True
        with self._changed:
            self._changed.notify()

    def drain(self) -> None:
        """Take no more requests; those that are here are answered."""
        with self._changed:
            if self.state in ("loading", "ready"):
                self.state = "draining"
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._warm()
        except Exception:
            self._give_up()
            return
        with self._changed:
            if self.state == "loading":
                self.state = "ready"
        while self.state != "failed":
            try:
                self._take()
                ended = self.scheduler.step()
                self._failures = 0
            except Exception as error:
                ended = self._fail(error)
            self._publish(ended)

    def _take(self) -> None:
        """Wait for something to do."""
        with self._changed:
            if not self._inbox and self.scheduler.idle:
                self._changed.wait_for(lambda: self._inbox)
                for _ in range(self._most // 4):  # those who come together are read together, the queue stays free
                    if not self._changed.wait(_TOGETHER):
                        break
            inbox, self._inbox = self._inbox, []
        for watched in inbox:
            for one in watched:
                self._listeners[id(one[0])] = one
            self.scheduler.submit(*(ticket for ticket, _, _ in watched))

    def _publish(self, ended: Sequence[Ticket]) -> None:
        over, told = set(map(id, ended)), list[tuple[Listener, Ticket, list[Piece], bool]]()
        for ticket, listener, watch in list(self._listeners.values()):
            end = id(ticket) in over
            if end:
                del self._listeners[id(ticket)]
            if ticket.pieces or end:
                pieces = ticket.take()
                watch(pieces, end)
                told.append((listener, ticket, pieces, end))

        def tell() -> None:
            for listener, ticket, pieces, end in told:
                listener(ticket, pieces, end)

        if told:
            self.call(tell)

    def _fail(self, error: Exception) -> list[Ticket]:
        """Everything under way has failed; those who wait are kept. The tickets that ended."""
        logging.getLogger("localmix").error("a pass failed:\n%s", "".join(traceback.format_exception(error)))
        self._failures += 1
        failed, waiting = self.scheduler.rows, self.scheduler.waiting
        self.scheduler = self._make()
        self.scheduler.waiting = waiting
        failed = [one for ticket in failed for one in (ticket, *ticket.followers)]
        if self._failures >= _FAILURES:
            failed += [one for ticket in waiting for one in (ticket, *ticket.followers)]
            self._give_up()
        for ticket in failed:
            ticket.error = EngineError("the engine failed: see the server's log")
        return failed

    def _give_up(self) -> None:
        with self._changed:
            self.state = "failed"
            for ticket, listener, _ in (one for watched in self._inbox for one in watched):
                ticket.error = EngineError("the engine failed: see the server's log")
                listener(ticket, [], True)
            self._inbox = []
        logging.getLogger("localmix").error("the engine is given up:\n%s", traceback.format_exc())
        self.on_failed()
