"""The same answer through every interface."""

import json
from typing import Any

import pytest
from server.served import Served
from server.test_tools import TOOL

HELLO = [{"role": "user", "content": "Hello"}]
GREEDY: Any = {"temperature": 0}


@pytest.fixture(scope="module")
def text(server: Served) -> str:
    found = server.post("/v1/chat/completions", messages=HELLO, max_tokens=12, **GREEDY)
    return str(found["choices"][0]["message"]["content"])


def test_responses(server: Served, text: str) -> None:
    asked: Any = {"input": "Hello", "max_output_tokens": 12, **GREEDY}
    found = server.post("/v1/responses", **asked)
    (item,) = found["output"]
    assert (item["content"][0]["text"], found["status"]) == (text, "incomplete")
    events = server.events("/v1/responses", **asked)
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert [e["type"] for e in events[:4]] == ["response.created", "response.in_progress", "response.output_item.added",
                                               "response.content_part.added"]  # fmt: skip
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == text
    last = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert last["output"][0]["content"] == item["content"]
    assert last["usage"]["output_tokens"] == 12


def test_responses_call_tools_and_remember_nothing(server: Served) -> None:
    tool = {"type": "function", **TOOL["function"]}
    found = server.post("/v1/responses", input=HELLO, tools=[tool, {"type": "web_search"}], tool_choice="required")
    (call,) = found["output"]
    assert (call["type"], call["name"], found["status"]) == ("function_call", "weather", "completed")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    server.post("/v1/responses", input=[*HELLO, call, output], tools=[tool], max_output_tokens=4)
    for name in ("previous_response_id", "conversation"):
        status, error = server.fail("/v1/responses", {"input": "Hello", name: "x"})
        assert (status, error["param"]) == (400, name)
    assert server.fail("/v1/responses", {"input": []})[0] == 400


def test_messages(server: Served, text: str) -> None:
    asked: Any = {"messages": HELLO, "max_tokens": 12, **GREEDY}
    found = server.post("/v1/messages", **asked)
    assert found["content"] == [{"type": "text", "text": text}]
    assert (found["stop_reason"], found["usage"]["output_tokens"]) == ("max_tokens", 12)
    events = server.events("/v1/messages", **asked)
    assert [e["type"] for e in events[:2]] == ["message_start", "content_block_start"]
    assert [e["type"] for e in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta") == text
    counted = server.post("/v1/messages/count_tokens", messages=HELLO)
    usage = found["usage"]
    assert counted["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]
    assert server.fail("/v1/messages", {"messages": HELLO})[0] == 400


def test_messages_with_tools(server: Served) -> None:
    tool = {"name": "weather", "input_schema": TOOL["function"]["parameters"]}
    system = [{"type": "text", "text": "x-anthropic-billing-header: 1"}, {"type": "text", "text": "Be kind"}]
    asked: Any = {
        "messages": HELLO,
        "system": system,
        "max_tokens": 60,
        "tools": [tool],
        "tool_choice": {"type": "any"},
        **GREEDY,  # by chance a call may be longer
    }
    found = server.post("/v1/messages", **asked)
    (block,) = found["content"]
    assert (block["type"], block["name"], found["stop_reason"]) == ("tool_use", "weather", "tool_use")
    events = server.events("/v1/messages", **asked)
    (given,) = [e["delta"]["partial_json"] for e in events if e["type"] == "content_block_delta"]
    assert json.loads(given)["city"] in ("Paris", "Rome")
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": "sunny"}]}
    turns = [*HELLO, {"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}]
    server.post("/v1/messages", messages=turns, max_tokens=4, tools=[tool])


def test_ollama(server: Served, text: str) -> None:
    options = {"temperature": 0, "num_predict": 12}
    found = server.post("/api/chat", messages=HELLO, stream=False, options=options, tools=[])
    assert (found["message"]["content"], found["done_reason"], found["eval_count"]) == (text, "length", 12)
    status, headers, raw = server.ask("POST", "/api/chat", {"messages": HELLO, "options": options})
    lines = [json.loads(line) for line in raw.splitlines()]
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert "".join(line["message"]["content"] for line in lines) == text
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert server.post("/api/generate", prompt="Hello", stream=False, options=options)["response"] == text
    raw = server.post("/api/generate", prompt="Once upon a", raw=True, stream=False, options=options)["response"]
    assert raw.startswith(" time")
    assert server.post("/api/show", model="any")["model_info"]["general.architecture"] == "llama"
    for path in ("/api/version", "/api/tags", "/api/ps"):
        assert server.ask("GET", path)[0] == 200


def test_templates_are_shown(server: Served) -> None:
    shown = server.post("/apply-template", messages=HELLO)["prompt"]
    assert "Hello" in shown
    assert json.loads(server.ask("GET", "/props")[2])["total_slots"] == 4
    assert len(json.loads(server.ask("GET", "/slots")[2])) == 4
