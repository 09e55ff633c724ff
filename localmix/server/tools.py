"""Tools in a prompt and in an answer, by the family of the chat template; and answers that have to be a call.

What a template knows of tools is left to it. One that knows none is told of them in its system prompt, in the words
that most models were taught (Hermes).
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from localmix.errors import LocalmixError
from localmix.markup import Markup
from localmix.server.bodies import ChatCompletion, Chosen, Message, Tool
from localmix.server.errors import ApiError
from localmix.template import ChatTemplate
from localmix.template import Message as Said

_HERMES = (
    "You may call functions. They are given as JSON schemas within <tools></tools>:\n<tools>\n{tools}\n</tools>\n"
    "For each call return a JSON object with the name and the arguments within <tool_call></tool_call>:\n"
    '<tool_call>\n{{"name": <name>, "arguments": <arguments>}}\n</tool_call>'
)


def offered(body: ChatCompletion) -> list[Tool]:
    """The functions that may be called. Tools of other types are left aside. ApiError: none where one has to be."""
    tools = [tool for tool in body.tools or () if tool.type == "function" and tool.function is not None]
    if body.tool_choice == "none":
        return []
    if isinstance(body.tool_choice, Chosen):
        wanted = body.tool_choice.function.name if body.tool_choice.function is not None else None
        tools = [tool for tool in tools if tool.function is not None and tool.function.name == wanted]
        if not tools:
            raise ApiError(400, f"tool_choice: no tool is named {wanted!r}", param="tool_choice")
    if body.tool_choice == "required" and not tools:
        raise ApiError(400, "tool_choice: required, but there are no tools", param="tool_choice")
    return tools


def forced(body: ChatCompletion) -> bool:
    return body.tool_choice == "required" or isinstance(body.tool_choice, Chosen)


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """What one call may be, as a schema."""
    options = []
    for tool in tools:
        assert tool.function is not None
        arguments = tool.function.parameters or {"type": "object"}
        options.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.function.name}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return options[0] if len(options) == 1 else {"anyOf": options}


def variables(tools: Sequence[Tool], found: Markup) -> dict[str, Any]:
    """What the template sees of tools."""
    return {"tools": [_plain(tool) for tool in tools]} if tools and found.knows else {}


def said(messages: Sequence[Message], texts: Sequence[str], tools: Sequence[Tool], found: Markup) -> list[Said]:
    """Messages as the template knows them: calls and their results as fields, or as text."""
    out: list[Said] = []
    for message, text in zip(messages, texts, strict=True):
        role = "system" if message.role == "developer" else message.role
        more: dict[str, Any] = {}
        thought = message.reasoning_content or message.reasoning
        if thought:
            more |= found.history(thought) or {}
        calls = [_call(call.function.name, call.function.arguments, call.id) for call in message.tool_calls or ()
                 if call.function is not None]  # fmt: skip
        if found.knows:
            if calls:
                more["tool_calls"] = calls
            if role == "tool":
                more |= {"tool_call_id": message.tool_call_id, "name": message.name}
        else:
            text += "".join(f"\n<tool_call>\n{json.dumps(call['function'])}\n</tool_call>" for call in calls)
            if role == "tool":
                role, text = "user", f"<tool_response>\n{text}\n</tool_response>"
        out.append(Said(role, text, more=more or None))
    if tools and not found.knows:
        told = _HERMES.format(tools="\n".join(json.dumps(_plain(tool)) for tool in tools))
        first = out[0].content + "\n\n" if out and out[0].role == "system" else ""
        out = [Said("system", first + told), *out[bool(first) :]]
    return out


def encoded(template: ChatTemplate, messages: Sequence[Said], seen: Mapping[str, Any], **how: bool) -> list[int]:
    """The ids of a conversation; `how` as `ChatTemplate.encode` has it. Where the template refuses a system prompt or
    two turns of one role, those are folded. LocalmixError: it refuses that, too.
    """
    try:
        return template.encode(messages, variables=seen, **how)
    except LocalmixError as error:
        folded = _folded(messages)
        if folded == list(messages):
            raise
        try:
            return template.encode(folded, variables=seen, **how)
        except LocalmixError:
            raise error from None


def new_id() -> str:
    """Nine letters and digits: Mistral's templates want just that."""
    return uuid.uuid4().hex[:9]


def _folded(messages: Sequence[Said]) -> list[Said]:
    """The system prompt in the first user's turn, and equal roles in a row as one turn."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    out: list[Said] = []
    for message in messages:
        if message.role == "system":
            continue
        if out and out[-1].role == message.role == "user":
            out[-1] = Said("user", f"{out[-1].content}\n\n{message.content}")
        else:
            out.append(message)
    if system and out and out[0].role == "user":
        out[0] = Said("user", f"{system}\n\n{out[0].content}")
    return out


def _plain(tool: Tool) -> dict[str, Any]:
    assert tool.function is not None
    function = {"name": tool.function.name, "description": tool.function.description or "",
                "parameters": tool.function.parameters or {"type": "object", "properties": {}}}  # fmt: skip
    return {"type": "function", "function": function}


def _call(name: str | None, arguments: Any, id: str | None) -> dict[str, Any]:
    """A call of the history. Arguments that are not JSON are data: they stay as they are."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = {"arguments": arguments}
    if not isinstance(arguments, dict):
        arguments = {"arguments": arguments}
    return {"id": id or new_id(), "type": "function", "function": {"name": name or "", "arguments": arguments}}
