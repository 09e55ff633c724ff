"""What is asked for is carried out or refused by name, through every interface."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from server.served import Served

from localmix.answer.options import Options
from localmix.server import choices
from localmix.server.bodies import ChatCompletion, Message
from localmix.server.dialogue import dialogue_of
from localmix.server.unsupported import OFF
from localmix.template import ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]
CHAT: Any = {"messages": HELLO, "max_tokens": 4, "temperature": 0}
TEXT: Any = {"prompt": "Once upon a", "max_tokens": 4, "temperature": 0}


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/chat/completions", {**CHAT, "functions": [{"name": "f"}]}, "functions"),
        ("/v1/chat/completions", {**CHAT, "verbosity": "low"}, "verbosity"),
        ("/v1/chat/completions", {**CHAT, "min_tokens": 3}, "min_tokens"),
        ("/v1/chat/completions", {**CHAT, "web_search_options": {}}, "web_search_options"),
        ("/v1/chat/completions", {**CHAT, "xtc_probability": 0.5}, "xtc_probability"),
        ("/v1/chat/completions", {**CHAT, "samplers": ["temperature", "top_k"]}, "samplers"),
        ("/v1/chat/completions", {**CHAT, "parse_tool_calls": False}, "parse_tool_calls"),
        ("/v1/completions", {**TEXT, "suffix": "end"}, "suffix"),
        ("/v1/completions", {**TEXT, "best_of": 3}, "best_of"),
        ("/v1/completions", {**TEXT, "prompt_logprobs": 0}, "prompt_logprobs"),
        ("/completion", {**TEXT, "lora": [{"id": 0}]}, "lora"),
        ("/v1/responses", {"input": "Hello", "top_logprobs": 3}, "top_logprobs"),
        ("/v1/responses", {"input": "Hello", "text": {"verbosity": "low"}}, "text.verbosity"),
        ("/v1/responses", {"input": "Hello", "include": ["message.output_text.logprobs"]}, "include"),
        ("/v1/responses", {"input": "Hello", "n": 2}, "n"),
        ("/v1/messages", {**CHAT, "mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ("/v1/messages", {**CHAT, "typical_p": 0.5}, "typical_p"),
        ("/api/chat", {"messages": HELLO, "options": {"mirostat": 2}}, "options.mirostat"),
        ("/api/generate", {"prompt": "Hello", "context": [1, 2]}, "context"),
        ("/api/generate", {"prompt": "Hello", "template": "{{ .Prompt }}"}, "template"),
    ],
)
def test_refused_by_name(server: Served, path: str, body: Any, name: str) -> None:
    status, error = server.fail(path, body)
    assert (status, error["param"]) == (400, name), error
    assert name in error["message"]


def test_what_is_off_is_no_matter(server: Served) -> None:
    known = ChatCompletion.__struct_fields__
    off = {name: values[0] for name, values in OFF.items() if values and name not in known}
    text = server.post("/v1/chat/completions", **CHAT)["choices"][0]["message"]["content"]
    order = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]
    more = {
        "samplers": order,
        "user": "me",
        "metadata": {"a": "b"},
        "dry_base": 1.75,
        "nothing_known": [1],
        "grammar": "",
    }
    found = server.post("/v1/chat/completions", **CHAT, **off, **more)
    assert found["choices"][0]["message"]["content"] == text
    assert server.post("/v1/chat/completions", **CHAT, **dict.fromkeys(OFF))["choices"][0]["message"]["content"] == text


def test_limits_by_any_name(server: Served) -> None:
    for name in ("max_tokens", "max_completion_tokens", "n_predict"):
        for path, body in (("/v1/chat/completions", {"messages": HELLO}), ("/v1/completions", {"prompt": "Once upon"})):
            assert server.post(path, **body, **{name: 3})["usage"]["completion_tokens"] == 3
    assert len(server.post("/v1/completions", **TEXT, n_cmpl=2)["choices"]) == 2


def test_vllm_penalty_counts_the_whole_context(server: Served) -> None:
    body: Any = {**TEXT, "max_tokens": 24, "prompt": "Once upon a time, upon a time, upon a time"}
    found = [server.post("/v1/completions", **body, **more)["choices"][0]["text"] for more in (
        {"repetition_penalty": 1.6}, {"repeat_penalty": 1.6, "repeat_last_n": -1}, {})]  # fmt: skip
    assert found[0] == found[1] != found[2]


def test_texts_without_bos(server: Served) -> None:
    plain, bare = (
        server.post("/v1/completions", **TEXT, **more)["usage"]["prompt_tokens"]
        for more in ({"add_special_tokens": True}, {"add_special_tokens": False})
    )
    assert plain == bare + 1


def test_an_answer_goes_on_with_the_last_message(server: Served) -> None:
    asked: Any = {
        "max_tokens": 12,
        "temperature": 0,
        "messages": [*HELLO, {"role": "assistant", "content": "Once upon"}],
    }
    shown = server.post("/apply-template", **asked, continue_final_message=True)["prompt"]
    assert shown.endswith("[/INST] Once upon")
    found = server.post("/v1/chat/completions", **asked, continue_final_message=True)["choices"][0]["message"]
    assert found["content"].startswith(" a time")
    assert server.post("/v1/messages", **asked)["content"][0]["text"] == found["content"]  # there without a word
    for wrong in ({"add_generation_prompt": True}, {"messages": HELLO}):
        given = {**asked, "continue_final_message": True} | wrong
        assert server.fail("/v1/chat/completions", given)[1]["param"] == "continue_final_message"


def test_prompts_end_where_they_are_asked_to(server: Served) -> None:
    tokenizer = server.service.model.tokenizer
    source = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>\n{% endfor %}"
    template = ChatTemplate(source + "{% if add_generation_prompt %}<assistant>{% endif %}", tokenizer)
    service: Any = SimpleNamespace(model=SimpleNamespace(template=template, tokenizer=tokenizer))

    def prompt(*texts: str, **more: Any) -> str:
        roles = ["user", "assistant"]
        messages = [Message(role=role, content=text) for role, text in zip(roles, texts, strict=False)]
        return tokenizer.decode(dialogue_of(service, ChatCompletion(messages=messages, **more)).ids)

    assert prompt("Hi").endswith("<user>Hi</>\n<assistant>")
    assert prompt("Hi", add_generation_prompt=False).endswith("<user>Hi</>\n")
    assert prompt("Hi", "So ", continue_final_message=True).endswith("<user>Hi</>\n<assistant>So ")
    assert prompt("Hi", "<s>", continue_final_message=True).endswith("<assistant><s>")
    assert prompt("Hi", "", continue_final_message=True).endswith("<assistant>")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 120}]}),
        ("/v1/completions", {"prompt": "other " * 60}),
        ("/completion", {"prompt": "things " * 60}),
        ("/v1/responses", {"input": "again " * 60}),
    ],
)
def test_how_far_a_prompt_is_read(server: Served, path: str, body: Any) -> None:
    for again in (False, True):
        events = server.events(path, **body, max_tokens=3, return_progress=True, timings_per_token=True)
        told = [event["prompt_progress"] for event in events if "prompt_progress" in event]
        done = [one["processed"] for one in told]
        assert (done[0], done[-1]) == (told[0]["cache"], told[-1]["total"])
        assert done == sorted(set(done))
        assert bool(told[0]["cache"]) == again
        assert sum("timings" in event for event in events) > len(told)
    assert not any("prompt_progress" in event for event in server.events(path, **body, max_tokens=3))


def test_thinking_is_switched(server: Served) -> None:
    for more in ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}):
        server.post("/v1/messages", **CHAT, **more)
    schema = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"], "additionalProperties": False}
    body = {**CHAT, "max_tokens": 40, "output_config": {"format": {"type": "json_schema", "schema": schema}}}
    assert '"x"' in server.post("/v1/messages", **body)["content"][0]["text"]


def test_every_option_can_be_asked_for() -> None:
    """By its own name or another one, of which `choices` knows: an option that is new is not left out in silence."""
    assert {one.name for one in fields(Options)} == {*choices._SAME, *choices._OWN, "temp"}
