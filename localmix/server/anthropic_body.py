"""What `/v1/messages` is asked, as types, and the chat completion that it stands for.

https://docs.anthropic.com/en/api/messages
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
    ResponseFormat,
    Sampling,
    Tool,
    ToolCall,
    sampling_of,
)
from localmix.server.errors import ApiError

_BILLING = "x-anthropic-billing-header:"  # a block that changes with every request, and would spoil every prefix


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


def chat_of(body: MessagesBody) -> ChatCompletion:
    """The same request as a chat completion. ApiError: it has parts that are not text."""
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
