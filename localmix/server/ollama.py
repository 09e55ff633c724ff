"""ollama's `/api/*`: the model that is served, in the words of clients that know no other. Lines of JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

import localmix
from localmix.answer.ticket import Piece, Request, Ticket
from localmix.markup import Call, Pairs, Parser, Said
from localmix.server import choices
from localmix.server.bodies import ChatCompletion, FunctionSchema, Message, Tool, ToolCall
from localmix.server.chat import prepared
from localmix.server.errors import ApiError
from localmix.server.service import Service, owner_of, service_of
from localmix.server.stream import Event, Stream, streamed, whole
from localmix.server.wire import encode, json, read

_NDJSON = "application/x-ndjson"
_SECOND = 1_000_000_000


class OllamaOptions(Struct, kw_only=True):
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class OllamaMessage(Struct, kw_only=True):
    role: str
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    images: list[str] | None = None


class OllamaTool(Struct, kw_only=True):
    type: str | None = None
    function: FunctionSchema | None = None


class Chat(Struct, kw_only=True):
    messages: list[OllamaMessage] = []
    model: str | None = None
    stream: bool | None = None
    tools: list[OllamaTool] | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None


class Generate(Struct, kw_only=True):
    prompt: str | None = None
    system: str | None = None
    model: str | None = None
    stream: bool | None = None
    raw: bool | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None


class Show(Struct, kw_only=True):
    model: str | None = None
    name: str | None = None


async def version(request: HttpRequest) -> Response:
    return json({"version": localmix.__version__})


async def tags(request: HttpRequest) -> Response:
    return json({"models": [_listed(service_of(request))]})


async def running(request: HttpRequest) -> Response:
    service = service_of(request)
    one = _listed(service) | {"expires_at": "9999-12-31T00:00:00Z", "size_vram": 0, "context_length": service.context}
    return json({"models": [one]})


async def show(request: HttpRequest) -> Response:
    service, _ = service_of(request), await read(request, Show)
    template = service.model.template
    found: dict[str, Any] = {
        "modelfile": "",
        "parameters": "",
        "template": "" if template is None else template.source,
        "details": _details(service),
        "model_info": {
            "general.architecture": str(service.model.file.metadata.get("general.architecture", "")),
            "general.parameter_count": sum(_count(t.shape) for t in service.model.file.tensors.values()),
        },
        "capabilities": ["completion", *(["tools"] if template is not None else [])],
        "modified_at": _now(),
    }
    return json(found)


async def chat(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, Chat)
    if not body.messages:
        return json({"model": service.name, "created_at": _now(), "message": _said(""), "done": True,
                     "done_reason": "load"})  # fmt: skip
    wanted = _chat(body)
    talk, made = await run_in_threadpool(prepared, service, wanted, owner_of(request))
    return await _answer(request, service, made[0], talk.parts(), body.stream is not False, chat=True)


async def generate(request: HttpRequest) -> Response:
    service, body = service_of(request), await read(request, Generate)
    if not body.prompt:
        return json({"model": service.name, "created_at": _now(), "response": "", "done": True, "done_reason": "load"})
    if body.raw or service.model.template is None:
        ticket, parts = await run_in_threadpool(_raw, service, body, owner_of(request)), _plain()
    else:
        system = [OllamaMessage(role="system", content=body.system)] if body.system else []
        turns = [*system, OllamaMessage(role="user", content=body.prompt)]
        wanted = _chat(Chat(messages=turns, format=body.format, options=body.options, think=body.think))
        talk, made = await run_in_threadpool(prepared, service, wanted, owner_of(request))
        ticket, parts = made[0], talk.parts()
    return await _answer(request, service, ticket, parts, body.stream is not False, chat=False)


async def _answer(
    request: HttpRequest, service: Service, ticket: Ticket, parts: Parser, streaming: bool, *, chat: bool
) -> Response:
    stream = Stream(service.worker, [[ticket]])

    def line(said: dict[str, Any], **more: Any) -> dict[str, Any]:
        content = {"message": said} if chat else {"response": said["content"], **_thought(said)}
        return {"model": service.name, "created_at": _now(), **content, "done": False, **more}

    if not streaming:
        (pieces,) = await whole(request, stream)
        return json(line(_message(parts, pieces, True), **_end(ticket)))

    def chunks(what: Event) -> Sequence[bytes]:
        _, pieces, ended = what
        said = _message(parts, pieces, ended)
        found = [line(said)] if said != _said("") else []
        found += [line(_said(""), **_end(ticket))] if ended else []
        return [encode(one) + b"\n" for one in found]

    def failed(error: ApiError) -> bytes:
        return encode({"error": error.message}) + b"\n"

    return await streamed(stream, chunks, media=_NDJSON, alive=b"\n", failed=failed)


def _message(parts: Parser, pieces: Sequence[Piece], ended: bool) -> dict[str, Any]:
    found = [part for piece in pieces for part in parts.push(piece.text)] + (parts.end() if ended else [])
    said = _said("".join(part.text for part in found if isinstance(part, Said) and part.kind == "content"))
    if thought := "".join(part.text for part in found if isinstance(part, Said) and part.kind == "reasoning"):
        said["thinking"] = thought
    if calls := [part for part in found if isinstance(part, Call)]:
        said["tool_calls"] = [
            {"function": {"name": c.name, "arguments": msgspec.json.decode(c.arguments)}} for c in calls
        ]
    return said


def _plain() -> Parser:
    """Text is text."""
    return Pairs(())


def _said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _thought(said: dict[str, Any]) -> dict[str, Any]:
    return {"thinking": said["thinking"]} if "thinking" in said else {}


def _end(ticket: Ticket) -> dict[str, Any]:
    s = ticket.stats
    return {
        "done": True,
        "done_reason": choices.FINISH[ticket.reason],
        "total_duration": int((s.prompt_seconds + s.decode_seconds) * _SECOND),
        "load_duration": 0,
        "prompt_eval_count": s.prompt_tokens + s.cached_tokens,
        "prompt_eval_duration": int(s.prompt_seconds * _SECOND),
        "eval_count": s.tokens,
        "eval_duration": int(s.decode_seconds * _SECOND),
    }


def _chat(body: Chat) -> ChatCompletion:
    if any(message.images for message in body.messages):
        raise ApiError(400, "images: this model reads text alone", param="images")
    messages = [
        Message(role=m.role, content=m.content, tool_calls=m.tool_calls, name=m.tool_name, reasoning=m.thinking)
        for m in body.messages
    ]
    found = ChatCompletion(messages=messages, **_options(body.options, body.format))
    found.tools = [Tool(function=tool.function) for tool in body.tools or () if tool.function is not None]
    if isinstance(body.think, str):
        found.reasoning_effort = body.think
    else:
        found.think = body.think
    return found


def _options(given: OllamaOptions | None, form: str | dict[str, Any] | None) -> dict[str, Any]:
    o = given or OllamaOptions()
    found: dict[str, Any] = msgspec.structs.asdict(o)
    found["max_tokens"] = found.pop("num_predict")
    if isinstance(form, dict):
        found["json_schema"] = form
    elif form == "json":
        found["json_schema"] = {"type": "object"}
    elif form:
        raise ApiError(400, f"format: found {form!r}, expected json or a schema", param="format")
    return found


def _raw(service: Service, body: Generate, owner: str) -> Ticket:
    wanted = ChatCompletion(messages=[], **_options(body.options, body.format))
    ids = service.model.tokenizer.encode(body.prompt or "", eos=False)
    options = choices.options(service, wanted)
    return choices.tickets(service, Request(0, ids, options, continues=True, owner=owner), 1)[0]


def _listed(service: Service) -> dict[str, Any]:
    size = sum(tensor.data.nbytes for tensor in service.model.file.tensors.values())
    when = datetime.fromtimestamp(service.started, UTC).isoformat()
    return {"name": service.name, "model": service.name, "modified_at": when, "size": size, "digest": "",
            "details": _details(service)}  # fmt: skip


def _details(service: Service) -> dict[str, Any]:
    family = str(service.model.file.metadata.get("general.architecture", ""))
    return {"format": "gguf", "family": family, "families": [family], "parent_model": "", "parameter_size": "",
            "quantization_level": ""}  # fmt: skip


def _count(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _now() -> str:
    return datetime.now(UTC).isoformat()
