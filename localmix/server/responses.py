"""`/v1/responses`, stateless: OpenAI's newer interface. What it says is a chat completion in other words.

What would have to be remembered between requests is refused, never ignored.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.ticket import Ticket
from localmix.markup import Call, Part, Said
from localmix.server import choices
from localmix.server.chat import prepared
from localmix.server.errors import ApiError
from localmix.server.responses_body import ResponsesBody, chat_of
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Progress, Stream, streamed, whole
from localmix.server.tools import new_id
from localmix.server.wire import event, json, read


async def responses(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, ResponsesBody)
    chat = chat_of(body)
    talk, made = await run_in_threadpool(prepared, service, chat, owner_of(request))
    stream = Stream(service.worker, [made], progress=body.stream and body.return_progress)
    parts, told = talk.parts(), _Told(service, body, made[0], len(talk.ids))
    if not body.stream:
        (pieces,) = await whole(request, stream)
        for part in [*parts.push("".join(piece.text for piece in pieces)), *parts.end()]:
            told.add(part)
        told.close()
        return json(told.response("completed"))

    def chunks(what: Event) -> Sequence[bytes]:
        _, pieces, ended = what
        found = [part for piece in pieces for part in parts.push(piece.text)]
        found += parts.end() if ended else []
        return [raw for part in found for raw in told.add(part)]

    def end() -> Sequence[bytes]:
        times = choices.timings(made[0].stats)
        return [*told.close(), told.event(told.ending, response=told.response("completed"), timings=times)]

    def reading(what: Progress) -> bytes:
        more = choices.reading(what, body)
        return told.event("response.in_progress", response=told.response("in_progress"), **more)

    def failed(error: ApiError) -> bytes:
        return told.event("error", message=error.message, code=error.type, param=error.param)

    begin = [
        told.event(f"response.{kind}", response=told.response("in_progress")) for kind in ("created", "in_progress")
    ]
    return await streamed(stream, chunks, begin, end, failed=failed, reading=reading)


class _Told:
    """The items of the answer so far, and the events that tell of them."""

    def __init__(self, service: Service, body: ResponsesBody, ticket: Ticket, prompt: int) -> None:
        self._service, self._body, self._ticket, self._prompt = service, body, ticket, prompt
        self._id, self._created, self._number = f"resp_{uuid.uuid4().hex}", int(time.time()), -1
        self._items: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None

    @property
    def ending(self) -> str:
        return "response.incomplete" if self._cut else "response.completed"

    @property
    def _cut(self) -> bool:
        return self._ticket.reason in ("length", "context")

    def event(self, kind: str, **content: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **content}, kind)

    def add(self, part: Part) -> list[bytes]:
        """The events of a part."""
        if isinstance(part, Call):
            return [*self.close(), *self._call(part)]
        found = []
        if self._open is None or self._open["type"] != ("reasoning" if part.kind == "reasoning" else "message"):
            found += [*self.close(), *self._begin(part)]
        assert self._open is not None
        self._open["content"][0]["text"] += part.text
        kind = "response.reasoning_text.delta" if part.kind == "reasoning" else "response.output_text.delta"
        more: dict[str, Any] = {} if part.kind == "reasoning" else {"logprobs": []}
        more |= choices.times(self._ticket.stats, self._body)
        return [*found, self.event(kind, **self._place(), content_index=0, delta=part.text, **more)]

    def close(self) -> list[bytes]:
        """The item that is open has ended."""
        if self._open is None:
            return []
        one, self._open = self._open, None
        (content,) = one["content"]
        one["status"] = "incomplete" if self._cut and self._ticket.ended else "completed"
        thought = one["type"] == "reasoning"
        kind = "response.reasoning_text.done" if thought else "response.output_text.done"
        place: dict[str, Any] = {"item_id": one["id"], "output_index": len(self._items) - 1, "content_index": 0}
        more: dict[str, Any] = {} if thought else {"logprobs": []}
        return [
            self.event(kind, **place, text=content["text"], **more),
            self.event("response.content_part.done", **place, part=content),
            self.event("response.output_item.done", output_index=len(self._items) - 1, item=one),
        ]

    def response(self, status: str) -> dict[str, Any]:
        """The whole object."""
        body, done = self._body, status == "completed"
        if done and self._cut:
            status = "incomplete"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": self._service.name,
            "output": [dict(item) for item in self._items],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": self._usage() if done else None,
            "metadata": body.metadata or {},
        }

    def _usage(self) -> dict[str, Any]:
        answer, cached = len(self._ticket.ids), self._ticket.stats.cached_tokens
        return {
            "input_tokens": self._prompt,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._prompt + answer,
        }

    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": len(self._items) - 1}

    def _begin(self, part: Said) -> list[bytes]:
        if part.kind == "reasoning":
            content: dict[str, Any] = {"type": "reasoning_text", "text": ""}
            self._open = {"type": "reasoning", "id": f"rs_{new_id()}", "summary": [], "content": [content]}
        else:
            content = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            self._open = {"type": "message", "id": f"msg_{new_id()}", "role": "assistant", "content": [content]}
        self._open["status"] = "in_progress"
        self._items.append(self._open)
        index = len(self._items) - 1
        bare = {**self._open, "content": []}
        return [
            self.event("response.output_item.added", output_index=index, item=bare),
            self.event("response.content_part.added", **self._place(), content_index=0, part=dict(content)),
        ]

    def _call(self, call: Call) -> list[bytes]:
        item = {"type": "function_call", "id": f"fc_{new_id()}", "call_id": f"call_{new_id()}", "name": call.name,
                "arguments": call.arguments, "status": "completed"}  # fmt: skip
        self._items.append(item)
        index, id = len(self._items) - 1, item["id"]
        begun = {**item, "arguments": "", "status": "in_progress"}
        return [
            self.event("response.output_item.added", output_index=index, item=begun),
            self.event("response.function_call_arguments.delta", item_id=id, output_index=index, delta=call.arguments),
            self.event("response.function_call_arguments.done", item_id=id, output_index=index, name=call.name,
                       arguments=call.arguments),
            self.event("response.output_item.done", output_index=index, item=item),
        ]  # fmt: skip
