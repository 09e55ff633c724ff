"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's interface, in the words of a chat completion."""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.ticket import Ticket
from localmix.markup import Call, Part
from localmix.server.anthropic_body import MessagesBody, chat_of
from localmix.server.chat import prepared
from localmix.server.dialogue import dialogue_of
from localmix.server.errors import ApiError
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Stream, streamed, whole
from localmix.server.tools import new_id
from localmix.server.wire import event, json, read

_REASONS = {"end": "end_turn", "stop": "stop_sequence", "length": "max_tokens", "context": "max_tokens"}


async def messages(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, MessagesBody)
    if body.max_tokens is None:
        raise ApiError(400, "max_tokens: expected a number", param="max_tokens")
    chat = chat_of(body)
    talk, made = await run_in_threadpool(prepared, service, chat, owner_of(request))
    stream = Stream(service.worker, [made])
    parts, told = talk.parts(), _Told(service, made[0], len(talk.ids))
    if not body.stream:
        (pieces,) = await whole(request, stream)
        for part in [*parts.push("".join(piece.text for piece in pieces)), *parts.end()]:
            told.add(part)
        return json(told.message(done=True))

    def chunks(what: Event) -> Sequence[bytes]:
        _, pieces, ended = what
        found = [part for piece in pieces for part in parts.push(piece.text)]
        found += parts.end() if ended else []
        return [raw for part in found for raw in told.add(part)]

    def failed(error: ApiError) -> bytes:
        return event({"type": "error", "error": {"type": error.type, "message": error.message}}, "error")

    begin = [event({"type": "message_start", "message": told.message(done=False)}, "message_start")]
    alive = event({"type": "ping"}, "ping")
    return await streamed(stream, chunks, begin, told.end, alive=alive, failed=failed)


async def count_tokens(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, MessagesBody)
    talk = await run_in_threadpool(dialogue_of, service, chat_of(body))
    return json({"input_tokens": len(talk.ids)})


class _Told:
    """The blocks of the answer so far, and the events that tell of them."""

    def __init__(self, service: Service, ticket: Ticket, prompt: int) -> None:
        self._service, self._ticket, self._prompt = service, ticket, prompt
        self._id, self._blocks = f"msg_{new_id()}", list[dict[str, Any]]()
        self._open = False

    def add(self, part: Part) -> list[bytes]:
        if isinstance(part, Call):
            id, given = f"toolu_{new_id()}", msgspec.json.decode(part.arguments)
            found = [*self._close(), *self._begin({"type": "tool_use", "id": id, "name": part.name, "input": {}})]
            self._blocks[-1] = self._blocks[-1] | {"input": given}
            return [*found, self._delta({"type": "input_json_delta", "partial_json": part.arguments}), *self._close()]
        kind, field = ("thinking", "thinking") if part.kind == "reasoning" else ("text", "text")
        found = []
        if not self._open or self._blocks[-1]["type"] != kind:
            more = {"signature": ""} if kind == "thinking" else {}
            found = [*self._close(), *self._begin({"type": kind, field: "", **more})]
        self._blocks[-1][field] += part.text
        return [*found, self._delta({"type": f"{kind}_delta", field: part.text})]

    def end(self) -> list[bytes]:
        last = {
            "type": "message_delta",
            "delta": {"stop_reason": self._reason(), "stop_sequence": self._ticket.written.stopped_by},
            "usage": {"output_tokens": len(self._ticket.ids)},
        }
        return [*self._close(), event(last, "message_delta"), event({"type": "message_stop"}, "message_stop")]

    def message(self, *, done: bool) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._service.name,
            "content": self._blocks if done else [],
            "stop_reason": self._reason() if done else None,
            "stop_sequence": self._ticket.written.stopped_by,
            "usage": {
                "input_tokens": self._prompt - self._ticket.stats.cached_tokens,
                "cache_read_input_tokens": self._ticket.stats.cached_tokens,
                "cache_creation_input_tokens": 0,
                "output_tokens": len(self._ticket.ids),
            },
        }

    def _reason(self) -> str:
        called = any(block["type"] == "tool_use" for block in self._blocks)
        return "tool_use" if called else _REASONS.get(self._ticket.reason, "end_turn")

    def _begin(self, block: dict[str, Any]) -> list[bytes]:
        self._blocks.append(dict(block))
        self._open = True
        content = {"type": "content_block_start", "index": len(self._blocks) - 1, "content_block": block}
        return [event(content, "content_block_start")]

    def _delta(self, delta: dict[str, Any]) -> bytes:
        content = {"type": "content_block_delta", "index": len(self._blocks) - 1, "delta": delta}
        return event(content, "content_block_delta")

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        self._open = False
        return [event({"type": "content_block_stop", "index": len(self._blocks) - 1}, "content_block_stop")]
