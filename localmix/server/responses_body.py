"""What `/v1/responses` is asked, as types, and the chat completion that it stands for.

https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from localmix.server import limits
from localmix.server.bodies import (
    ChatCompletion,
    Chosen,
    Function,
    FunctionSchema,
    JsonSchema,
    Message,
    Part,
    ResponseFormat,
    Sampling,
    Tool,
    ToolCall,
    sampling_of,
)
from localmix.server.errors import ApiError

_LOGPROBS = "message.output_text.logprobs"


class Item(Struct, kw_only=True):
    """A message, a call, its output, or thinking."""

    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class Format(Struct, kw_only=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] | None = None


class TextFormat(Struct, kw_only=True):
    format: Format | None = None


class ToolSpec(Struct, kw_only=True):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolName(Struct, kw_only=True):
    type: str
    name: str | None = None


class Reasoning(Struct, kw_only=True):
    effort: str | None = None


class ResponsesBody(Sampling, kw_only=True):
    """/v1/responses"""

    input: str | Annotated[list[Item], Meta(max_length=limits.MESSAGES)] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    text: TextFormat | None = None
    tools: Annotated[list[ToolSpec], Meta(max_length=limits.TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolName | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    prompt: Any = None
    include: list[str] | None = None
    metadata: dict[str, Any] | None = None


def chat_of(body: ResponsesBody) -> ChatCompletion:
    """The same request as a chat completion. ApiError: it needs a memory between requests, or what there is not."""
    for name in ("previous_response_id", "conversation", "background", "prompt"):
        if getattr(body, name):
            raise ApiError(400, f"{name}: nothing is kept between requests: send the whole input", param=name)
    if _LOGPROBS in (body.include or ()):
        raise ApiError(400, f"include: {_LOGPROBS} is not supported: leave it out", param="include")
    if body.count > 1:
        raise ApiError(400, f"n: found {body.count}, expected 1: a response is one answer", param="n")
    messages = [Message(role="system", content=body.instructions)] if body.instructions else []
    messages += _messages(body.input)
    if not any(message.role != "system" for message in messages):
        raise ApiError(400, "input: expected a text or messages", param="input")
    tools = [
        Tool(function=FunctionSchema(name=tool.name, description=tool.description, parameters=tool.parameters))
        for tool in body.tools or ()
        if tool.type == "function" and tool.name
    ]
    choice = body.tool_choice
    found = ChatCompletion(
        **sampling_of(body),
        messages=messages,
        tools=tools,
        tool_choice=Chosen(function=Function(name=choice.name)) if isinstance(choice, ToolName) else choice,
        parallel_tool_calls=body.parallel_tool_calls,
        reasoning_effort=body.reasoning.effort if body.reasoning is not None else None,
    )
    if body.max_output_tokens is not None:
        found.max_tokens = body.max_output_tokens
    if (form := body.text.format if body.text is not None else None) is not None:
        schema = JsonSchema(schema=form.schema) if form.schema else None
        found.response_format = ResponseFormat(type=form.type, json_schema=schema)
    return found


def _messages(given: str | Sequence[Item] | None) -> list[Message]:
    if given is None or isinstance(given, str):
        return [Message(role="user", content=given)] if given else []
    found: list[Message] = []
    thought = None
    for place, item in enumerate(given):
        kind = item.type or "message"
        if kind == "message":
            found.append(Message(role=item.role or "user", content=item.content, reasoning_content=thought))
            thought = None
        elif kind == "function_call":
            call = ToolCall(id=item.call_id, function=Function(name=item.name, arguments=item.arguments))
            if found and found[-1].tool_calls:
                found[-1].tool_calls.append(call)
            else:
                found.append(Message(role="assistant", tool_calls=[call], reasoning_content=thought))
            thought = None
        elif kind == "function_call_output":
            found.append(Message(role="tool", content=item.output, tool_call_id=item.call_id))
        elif kind == "reasoning":
            parts = item.content if isinstance(item.content, list) else []
            thought = "".join(part.text or "" for part in parts) or None
        else:
            raise ApiError(400, f"input[{place}]: found an item of type {kind!r}, expected a message", param="input")
    return found
