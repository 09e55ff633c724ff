"""From the worker's thread to one client: pieces as they come, and the end of the work when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from localmix.answer.ticket import Piece, Ticket
from localmix.server.errors import ApiError, as_api_error
from localmix.server.limits import ALIVE_SECONDS
from localmix.server.wire import ALIVE, event
from localmix.server.worker import EngineError, Worker

Event = tuple[int, list[Piece], bool]  # which answer, its pieces, whether it has ended


class Stream:
    """The answers of one request. Iterate for events; leave it by `close`."""

    def __init__(self, worker: Worker, prompts: Sequence[Sequence[Ticket]]) -> None:
        """`prompts`: for each prompt its answers. ApiError: not now."""
        self.tickets = [ticket for tickets in prompts for ticket in tickets]
        self._worker, self._open = worker, len(self.tickets)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        places = {id(ticket): place for place, ticket in enumerate(self.tickets)}

        def listener(ticket: Ticket, pieces: list[Piece], ended: bool) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens
                self._loop.call_soon_threadsafe(self._events.put_nowait, (places[id(ticket)], pieces, ended))

        try:
            for tickets in prompts:
                worker.submit(tickets, listener)
        except ApiError:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[Event]:
        """ApiError: an answer failed."""
        while self._open:
            yield await self.next()

    async def next(self) -> Event:
        """The next event. ApiError: an answer failed."""
        place, pieces, ended = await self._events.get()
        self._open -= ended
        error = self.tickets[place].error
        if ended and error is not None:
            self.close()
            raise ApiError(500, str(error)) if isinstance(error, EngineError) else as_api_error(error)
        return place, pieces, ended

    @property
    def done(self) -> bool:
        return not self._open

    def close(self) -> None:
        """End what is under way."""
        self._worker.cancel([ticket for ticket in self.tickets if not ticket.ended])


async def whole(request: Request, stream: Stream) -> list[list[Piece]]:
    """All pieces of all answers. The work ends if the client leaves. ApiError: an answer failed."""
    found: list[list[Piece]] = [[] for _ in stream.tickets]

    async def collect() -> None:
        async for place, pieces, _ in stream:
            found[place] += pieces

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
) -> Response:
    """A response of events. What fails before the first piece, within some seconds, is a status of its own.

    `chunks` makes bytes of an event, `begin` comes before all, `end` after it; `alive` while nothing happens.
    """
    first: Event | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(ALIVE_SECONDS):
            first = await stream.next()

    async def content() -> AsyncIterator[bytes]:
        waiting: asyncio.Task[Event] | None = None
        try:
            for part in begin:
                yield part
            if first is not None:
                for part in chunks(first):
                    yield part
            while not stream.done:
                waiting = asyncio.create_task(stream.next())
                while not (await asyncio.wait((waiting,), timeout=ALIVE_SECONDS))[0]:
                    yield alive
                for part in chunks(waiting.result()):
                    yield part
            for part in end():
                yield part
        except ApiError as error:
            yield failed(error)
        finally:
            if waiting is not None:
                waiting.cancel()
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
