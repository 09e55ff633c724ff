"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's interface, in the words of a chat completion."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from localmix.answer.ticket import Ticket
from localmix.markup import Call, Part
from localmix.server import limits
from localmix.server.bodies import (
    ChatCompletion,
    Chosen,
    Function,
    FunctionSchema,
    JsonSchema,
    Message,
    ResponseFormat,
    Sampling,
    Tool,
    ToolCall,
    sampling_of,
)
from localmix.server.chat import prepared
from localmix.server.dialogue import dialogue_of
from localmix.server.errors import ApiError
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Stream, streamed, whole
from localmix.server.tools import new_id
from localmix.server.wire import event, json, read

_BILLING = "x-anthropic-billing-header:"  # a block that changes with every request, and would spoil every prefix
_REASONS = {"end": "end_turn", "stop": "stop_sequence", "length": "max_tokens", "context": "max_tokens"}


class Block(Struct, kw_only=True):
    """A part of a message."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list["Block"] | None = None


class Turn(Struct, kw_only=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolSpec(Struct, kw_only=True):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(Struct, kw_only=True):
    type: Literal["auto", "any", "tool", "none"] = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, kw_only=True):
    """How long it may be is taken for a wish: a thought is not cut."""

    type: Literal["enabled", "disabled", "adaptive"]


class OutputFormat(Struct, kw_only=True):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct, kw_only=True):
    effort: str | None = None
    format: OutputFormat | None = None


class MessagesBody(Sampling, kw_only=True):
    """/v1/messages"""

    messages: Annotated[list[Turn], Meta(min_length=1, max_length=limits.MESSAGES)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    system: str | list[Block] | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=limits.STOPS)] | None = None
    tools: Annotated[list[ToolSpec], Meta(max_length=limits.TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None  # as it was called before
    chat_template_kwargs: dict[str, Any] | None = None  # llama.cpp's


async def messages(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, MessagesBody)
    if body.max_tokens is None:
        raise ApiError(400, "max_tokens: expected a number", param="max_tokens")
    chat = _chat(body)
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
    talk = await run_in_threadpool(dialogue_of, service, _chat(body))
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


def _chat(body: MessagesBody) -> ChatCompletion:
    system = _text(body.system, "system") if body.system else ""
    found = [Message(role="system", content=system)] if system else []
    for place, turn in enumerate(body.messages):
        found += _messages(turn, f"messages[{place}].content")
    choice, wanted = body.tool_choice, None  # type: tuple[ToolChoice | None, Any]
    if choice is not None:
        wanted = {"auto": "auto", "any": "required", "none": "none"}.get(choice.type)
        wanted = wanted or Chosen(function=Function(name=choice.name))
    if body.count > 1:
        raise ApiError(400, f"n: found {body.count}, expected 1: a message is one answer", param="n")
    chat = ChatCompletion(
        **sampling_of(body),
        messages=found,
        tools=[
            Tool(function=FunctionSchema(name=tool.name, description=tool.description, parameters=tool.input_schema))
            for tool in body.tools or ()
            if tool.type in (None, "custom")
        ],
        tool_choice=wanted,
        parallel_tool_calls=False if choice is not None and choice.disable_parallel_tool_use else None,
        continue_final_message=found[-1].role == "assistant" and not found[-1].tool_calls,
        chat_template_kwargs=body.chat_template_kwargs,
    )
    if body.stop_sequences is not None:
        chat.stop = body.stop_sequences
    _set_output(chat, body)
    return chat


def _set_output(chat: ChatCompletion, body: MessagesBody) -> None:
    """Whether to think, how much, and what the answer may be."""
    config = body.output_config or OutputConfig()
    chat.reasoning_effort = config.effort
    if body.thinking is not None and body.thinking.type != "adaptive":
        chat.think = body.thinking.type == "enabled"
    if (form := config.format or body.output_format) is not None:
        chat.response_format = ResponseFormat(type="json_schema", json_schema=JsonSchema(schema=form.schema))


def _messages(turn: Turn, where: str) -> list[Message]:
    """One turn may hold text, calls, and results of calls: those are messages of their own."""
    if isinstance(turn.content, str):
        return [Message(role=turn.role, content=turn.content)]
    results = [
        Message(role="tool", tool_call_id=block.tool_use_id, content=_text(block.content or "", where))
        for block in turn.content
        if block.type == "tool_result"
    ]
    calls = [
        ToolCall(id=block.id, function=Function(name=block.name, arguments=block.input or {}))
        for block in turn.content
        if block.type == "tool_use"
    ]
    thought = "".join(block.thinking or "" for block in turn.content if block.type == "thinking")
    rest = [b for b in turn.content if b.type not in ("tool_result", "tool_use", "thinking", "redacted_thinking")]
    text = _text(rest, where)
    if not text and not calls and results:
        return results
    said = Message(role=turn.role, content=text, tool_calls=calls or None, reasoning_content=thought or None)
    return [*results, said]


def _text(content: str | Sequence[Block], where: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for block in content:
        if block.type != "text" or block.text is None:
            raise ApiError(400, f"{where}: found a block of type {block.type!r}, expected text", param=where)
        if not block.text.startswith(_BILLING):
            texts.append(block.text)
    return "\n".join(texts)
