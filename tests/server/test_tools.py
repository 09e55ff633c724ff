"""Tools that are offered and have to be called, thinking in history, and templates that know neither."""

import json
from types import SimpleNamespace
from typing import Any

from server.served import Served

from localmix.server.bodies import ChatCompletion, Message
from localmix.server.dialogue import dialogue_of
from localmix.template import ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
                       "additionalProperties": False},
    },
}  # fmt: skip
OTHER: Any = {"type": "function", "function": {"name": "other"}}


def test_a_call_that_has_to_be(server: Served) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        tools = [TOOL] if choice == "required" else [OTHER, TOOL]
        asked: Any = {"messages": HELLO, "tools": tools, "tool_choice": choice, "max_tokens": 100, "seed": 1}
        found = server.post("/v1/chat/completions", **asked)["choices"][0]
        (call,) = found["message"]["tool_calls"]
        assert found["finish_reason"] == "tool_calls"
        assert found["message"]["content"] is None
        assert call["function"]["name"] == "weather"
        assert json.loads(call["function"]["arguments"])["city"] in ("Paris", "Rome")
        events = [e["choices"][0] for e in server.events("/v1/chat/completions", **asked)]
        (told,) = [e["delta"]["tool_calls"] for e in events if "tool_calls" in e["delta"]]
        assert told[0] | {"id": ""} == {"index": 0, **call, "id": ""}
        assert events[-1]["finish_reason"] == "tool_calls"


def test_tools_that_may_be_called(server: Served) -> None:
    found = server.post("/v1/chat/completions", messages=HELLO, tools=[TOOL], max_tokens=8, seed=1)
    assert found["choices"][0]["message"]["content"]
    plain = server.post("/v1/chat/completions", messages=HELLO, tools=[], max_tokens=8, seed=1)
    assert found["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]
    skipped = server.post("/v1/chat/completions", messages=HELLO, tools=[{"type": "web_search"}], max_tokens=8, seed=1)
    assert skipped["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    refused = server.post("/v1/chat/completions", messages=HELLO, tools=[TOOL], tool_choice="none", max_tokens=8)
    assert refused["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


def test_a_tool_that_is_not_there(server: Served) -> None:
    choice = {"type": "function", "function": {"name": "nothing"}}
    body = {"messages": HELLO, "tools": [TOOL], "tool_choice": choice}
    assert server.fail("/v1/chat/completions", body)[0] == 400
    assert server.fail("/v1/chat/completions", {"messages": HELLO, "tool_choice": "required"})[0] == 400


def test_calls_and_thoughts_in_history_are_data(server: Served) -> None:
    """Also arguments that are not JSON."""
    for arguments in ('{"city": "Rome"}', "{broken", ""):
        call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        messages = [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "hm"},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "sunny"}]},
        ]
        server.post("/v1/chat/completions", messages=messages, tools=[TOOL], max_tokens=4)


def test_without_effort_a_thought_that_is_always_opened_is_ended(server: Served) -> None:
    tokenizer = server.service.model.tokenizer
    template = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}<think>\n\n", tokenizer)
    service: Any = SimpleNamespace(model=SimpleNamespace(template=template, tokenizer=tokenizer))

    def prompt(**more: Any) -> str:
        body = ChatCompletion(messages=[Message(role="user", content="Hello")], **more)
        return tokenizer.decode(dialogue_of(service, body).ids).replace(" ", "")

    assert prompt().rstrip().endswith("<think>")
    assert prompt(reasoning_effort="low").rstrip().endswith("<think>")
    assert prompt(reasoning_effort="none").endswith("<think>\n\n</think>\n\n")
    assert prompt(chat_template_kwargs={"enable_thinking": False}).endswith("</think>\n\n")
