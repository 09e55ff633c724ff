"""`/v1/chat/completions`: answers to a conversation, with thinking and calls of tools apart from the text."""

from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.ticket import Piece, Request, Ticket
from localmix.server import choices
from localmix.server.bodies import ChatCompletion
from localmix.server.dialogue import prompt_of
from localmix.server.errors import ApiError
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Stream, streamed, whole
from localmix.server.wire import DONE, event, json, read


async def chat_completions(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, ChatCompletion)
    made = await run_in_threadpool(_tickets, service, body, owner_of(request))
    stream = Stream(service.worker, [made])
    head = service.head("chat.completion.chunk" if body.stream else "chat.completion", "chatcmpl")
    prompt = [len(made[0].request.prompt)]
    if not body.stream:
        pieces = await whole(request, stream)
        found = [_choice(service, body, place, made[place], parts) for place, parts in enumerate(pieces)]
        tail = {"usage": choices.usage(made, prompt), "timings": choices.timings(made[0].stats)}
        return json({**head, "choices": found, **tail})

    def chunk(place: int, delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        one = {"index": place, "delta": delta, "logprobs": None, "finish_reason": reason, **more}
        return event({**head, "choices": [one]})

    begun: set[int] = set()

    def chunks(what: Event) -> Sequence[bytes]:
        place, parts, ended = what
        found = []
        for part in parts:
            if part.text or part.scores:
                told = _logprobs(service, body, made[place], [part], first=place not in begun)
                begun.add(place)
                found.append(chunk(place, {"content": part.text}, logprobs=told))
        if ended:
            found.append(chunk(place, {}, choices.FINISH[made[place].reason]))
        return found

    def end() -> Sequence[bytes]:
        wanted = body.stream_options is not None and body.stream_options.include_usage
        last = {**head, "choices": [], "usage": choices.usage(made, prompt), "timings": choices.timings(made[0].stats)}
        return [event(last), DONE] if wanted else [DONE]

    begin = [chunk(place, {"role": "assistant", "content": ""}) for place in range(len(made))]
    return await streamed(stream, chunks, begin, end)


def _tickets(service: Service, body: ChatCompletion, owner: str) -> list[Ticket]:
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs without logprobs: add logprobs: true", param="top_logprobs")
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    options = choices.options(service, body, limit)
    scores = (body.top_logprobs or 0) if body.logprobs else None
    request = Request(0, prompt_of(service, body), options, scores=scores, owner=owner)
    return choices.tickets(service, request, body.n or 1)


def _choice(
    service: Service, body: ChatCompletion, place: int, ticket: Ticket, pieces: Sequence[Piece]
) -> dict[str, Any]:
    text = "".join(piece.text for piece in pieces)
    return {
        "index": place,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": _logprobs(service, body, ticket, pieces, first=True),
        "finish_reason": choices.FINISH[ticket.reason],
    }


def _logprobs(
    service: Service, body: ChatCompletion, ticket: Ticket, pieces: Sequence[Piece], *, first: bool
) -> dict[str, Any] | None:
    if not body.logprobs:
        return None
    scores = (score for piece in pieces for score in piece.scores)
    return choices.chat_logprobs(service, ticket, scores, first=first)
