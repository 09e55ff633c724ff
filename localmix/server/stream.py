"""From the worker's thread to one client: pieces as they come, and the end of the work when the client leaves."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from localmix.answer.stats import Stats
from localmix.answer.ticket import Piece, Ticket
from localmix.server.errors import ApiError, as_api_error
from localmix.server.limits import ALIVE_SECONDS
from localmix.server.wire import ALIVE, event
from localmix.server.worker import EngineError, Worker

Event = tuple[int, list[Piece], bool]  # which answer, its pieces, whether it has ended


@dataclass(frozen=True)
class Progress:
    """So much of the prompt of an answer is read; `stats` are of that moment."""

    place: int
    done: int  # tokens
    total: int
    stats: Stats
    seconds: float  # since the reading began

    @property
    def told(self) -> dict[str, Any]:
        """As llama.cpp tells it."""
        return {
            "total": self.total,
            "cache": self.stats.cached_tokens,
            "processed": self.done,
            "time_ms": round(1000 * self.seconds),
        }


class Stream:
    """The answers of one request. Iterate for events; leave it by `close`."""

    def __init__(self, worker: Worker, prompts: Sequence[Sequence[Ticket]], *, progress: bool | None = False) -> None:
        """`prompts`: for each prompt its answers. `progress`: tell how far each prompt is read. ApiError: not now."""
        self.tickets = [ticket for tickets in prompts for ticket in tickets]
        self._worker, self._open = worker, len(self.tickets)
        self._events: asyncio.Queue[Event | Progress] = asyncio.Queue()
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        places = {id(ticket): place for place, ticket in enumerate(self.tickets)}

        def listener(ticket: Ticket, pieces: list[Piece], ended: bool) -> None:
            self._put((places[id(ticket)], pieces, ended))

        try:
            for tickets in prompts:
                if progress:
                    tickets[0].progress = _Reading(self._put, tickets[0], places[id(tickets[0])])
                worker.submit(tickets, listener)
        except ApiError:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[Event | Progress]:
        """ApiError: an answer failed."""
        while self._open:
            if (what := await self.next()) is not None:
                yield what

    async def next(self, seconds: float | None = None) -> Event | Progress | None:
        """The next event; None: for so many seconds there was none. ApiError: an answer failed."""
        try:
            async with asyncio.timeout(seconds):
                what = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(what, Progress):
            return what
        place, pieces, ended = what
        self._open -= ended
        error = self.tickets[place].error
        if ended and error is not None:
            self.close()
            raise ApiError(500, str(error)) if isinstance(error, EngineError) else as_api_error(error)
        return place, pieces, ended

    def _put(self, what: Event | Progress) -> None:
        """From whichever thread."""
        if threading.get_ident() == self._thread:
            self._events.put_nowait(what)
            return
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, what)

    @property
    def done(self) -> bool:
        return not self._open

    def close(self) -> None:
        """End what is under way."""
        self._worker.cancel([ticket for ticket in self.tickets if not ticket.ended])


class _Reading:
    """Told how much of a prompt is read, in the worker's thread. What is read again is not told again."""

    def __init__(self, put: Callable[[Progress], None], ticket: Ticket, place: int) -> None:
        self._put, self._ticket, self._place = put, ticket, place
        self._most, self._began = -1, 0.0

    def __call__(self, done: int, total: int) -> None:
        if self._most < 0:
            self._began = perf_counter()
        if done > self._most:
            self._most = done
            seconds = perf_counter() - self._began
            self._put(Progress(self._place, done, total, replace(self._ticket.stats), seconds))


async def whole(request: Request, stream: Stream) -> list[list[Piece]]:
    """All pieces of all answers. The work ends if the client leaves. ApiError: an answer failed."""
    found: list[list[Piece]] = [[] for _ in stream.tickets]

    async def collect() -> None:
        async for what in stream:
            if not isinstance(what, Progress):
                found[what[0]] += what[1]

    work, left = asyncio.create_task(collect()), asyncio.create_task(_left(request.receive))
    try:
        await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ApiError(499, "the client has left")
        await work
    finally:
        left.cancel()
        work.cancel()
        stream.close()
    return found


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def streamed(
    stream: Stream,
    chunks: Callable[[Event], Sequence[bytes]],
    begin: Sequence[bytes] = (),
    end: Callable[[], Sequence[bytes]] = tuple,
    *,
    media: str = "text/event-stream",
    alive: bytes = ALIVE,
    failed: Callable[[ApiError], bytes] = lambda error: event(error.body),
    reading: Callable[[Progress], bytes] = lambda what: b"",
) -> Response:
    """A response of events. What fails before the first piece, within some seconds, is a status of its own.

    `chunks` makes bytes of an event, `reading` of progress; `begin` comes before all, `end` after it; `alive` while
    nothing happens.
    """

    def told(what: Event | Progress) -> Sequence[bytes]:
        return [reading(what)] if isinstance(what, Progress) else chunks(what)

    first = await stream.next(ALIVE_SECONDS)

    async def content() -> AsyncIterator[bytes]:
        try:
            for part in begin:
                yield part
            if first is not None:
                for part in told(first):
                    yield part
            while not stream.done:
                what = await stream.next(ALIVE_SECONDS)
                for part in [alive] if what is None else told(what):
                    yield part
            for part in end():
                yield part
        except ApiError as error:
            yield failed(error)
        finally:
            stream.close()

    return _Closing(stream, content(), media_type=media, headers={"cache-control": "no-cache"})


class _Closing(StreamingResponse):
    """Ends the work also where the client left before the first byte."""

    def __init__(self, stream: Stream, content: AsyncIterator[bytes], media_type: str, headers: dict[str, str]) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()
