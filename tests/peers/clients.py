"""Clients as their makers ship them against a running server: python tests/peers/clients.py PORT

Wants openai, anthropic, ollama, langchain-openai and llm in the environment that runs it; it needs no localmix.
openai-python checks every object that comes back; pieces of text completions aside, whose finish_reason its types want
in each, where OpenAI's own are null until the last.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anthropic
import ollama
import openai
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

URL = f"http://127.0.0.1:{sys.argv[1]}"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"],
    "additionalProperties": False}}}  # fmt: skip

open_ai = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", _strict_response_validation=True, max_retries=0)
claude = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0)


class Person(BaseModel):
    name: str
    age: int


def models() -> str:
    return open_ai.models.list().data[0].id


def chat() -> str:
    found = open_ai.chat.completions.create(
        model="m", messages=HELLO, max_tokens=20, logprobs=True, top_logprobs=2, n=2
    )
    return str(found.choices[1].message.content)


def chat_stream() -> str:
    events = list(open_ai.chat.completions.create(
        model="m", messages=HELLO, max_tokens=20, temperature=0, stream=True, logprobs=True,
        stream_options={"include_usage": True},
    ))  # fmt: skip
    assert events[-1].usage.completion_tokens == 20
    return "".join(e.choices[0].delta.content or "" for e in events if e.choices)


def parse() -> str:
    found = open_ai.chat.completions.parse(model="m", messages=HELLO, response_format=Person, max_tokens=200, seed=1)
    return repr(found.choices[0].message.parsed)


def tools() -> str:
    found = open_ai.chat.completions.create(model="m", messages=HELLO, tools=[TOOL], tool_choice="required", seed=2)
    call = found.choices[0].message.tool_calls[0]
    json.loads(call.function.arguments)
    with open_ai.chat.completions.stream(model="m", messages=HELLO, tools=[TOOL], tool_choice="required") as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    return f"{call.function.arguments} {final.choices[0].message.tool_calls[0].function.arguments}"


def completions() -> str:
    found = open_ai.completions.create(model="m", prompt=["Once upon", "One"], max_tokens=8, logprobs=2)
    loose = openai.OpenAI(base_url=f"{URL}/v1", api_key="none")
    parts = loose.completions.create(model="m", prompt="Once upon", max_tokens=8, stream=True)
    return found.choices[1].text + "".join(e.choices[0].text for e in parts)


def responses() -> str:
    found = open_ai.responses.create(model="m", input="Hello", max_output_tokens=20)
    kinds = [e.type for e in open_ai.responses.create(model="m", input="Hello", max_output_tokens=20, stream=True)]
    assert kinds[-1] in ("response.completed", "response.incomplete"), kinds
    parsed = open_ai.responses.parse(model="m", input="Hello", text_format=Person, max_output_tokens=200)
    return f"{found.output_text} {parsed.output_parsed!r}"


def errors() -> str:
    for body, kind in (({"temperature": -1}, openai.BadRequestError), ({"n": 400}, openai.BadRequestError)):
        try:
            open_ai.chat.completions.create(model="m", messages=HELLO, **body)
        except kind:
            continue
        raise AssertionError(body)
    return "400"


def messages() -> str:
    found = claude.messages.create(model="m", max_tokens=20, messages=HELLO, system="Be kind")
    with claude.messages.stream(model="m", max_tokens=20, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
    count = claude.messages.count_tokens(model="m", messages=HELLO).input_tokens
    tool = {"name": "weather", "input_schema": TOOL["function"]["parameters"]}
    call = claude.messages.create(
        model="m", max_tokens=200, messages=HELLO, tools=[tool], tool_choice={"type": "any"}
    ).content[0]
    return f"{found.content[0].text} | {text} | {count} | {call.input}"


def llama() -> str:
    client = ollama.Client(URL)
    client.list(), client.ps(), client.show("m")
    found = client.chat("m", messages=HELLO, options={"num_predict": 12})
    parts = client.generate("m", "Hello", stream=True, options={"num_predict": 12})
    return found.message.content + " | " + "".join(p.response for p in parts)


def langchain() -> str:
    model = ChatOpenAI(base_url=f"{URL}/v1", api_key="none", model="m", max_tokens=200)
    held = model.with_structured_output(Person, method="json_schema").invoke("Hello")
    bound = model.bind_tools([TOOL], tool_choice="required").invoke("Hello").tool_calls
    return f"{model.invoke('Hello').content!r} {''.join(c.content for c in model.stream('Hello'))!r} {held} {bound}"


def simon_willison() -> str:
    """simonw/llm, whose models are in a file of the user's."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_USER_PATH"] = folder
        known = {"model_id": "here", "model_name": "m", "api_base": f"{URL}/v1", "supports_tools": True}
        Path(folder, "extra-openai-models.yaml").write_text(json.dumps([known | {"supports_schema": True}]))
        import llm

        model = llm.get_model("here")
        whole = model.prompt("Hello", key="none", stream=False, max_tokens=12, temperature=0).text()
        parts = "".join(model.prompt("Hello", key="none", max_tokens=12, temperature=0))
        assert whole == parts
        held = model.prompt("Hello", key="none", schema=Person, max_tokens=200).text()
        talk = model.conversation()
        talk.prompt("Hello", key="none", max_tokens=8).text()
        again = talk.prompt("And then?", key="none", max_tokens=8)
        return f"{whole!r} {Person.model_validate_json(held)} {again.text()!r} {again.usage()}"


CHECKS: tuple[Callable[[], str], ...] = (
    models, chat, chat_stream, parse, tools, completions, responses, errors, messages, llama, langchain,
    simon_willison,
)  # fmt: skip


def main() -> None:
    failed = 0
    for check in CHECKS:
        start = time.perf_counter()
        try:
            said = check()[:100].replace("\n", " ")
        except Exception as error:
            failed += 1
            said = f"FAILED {type(error).__name__}: {str(error)[:600]}"
        print(f"{check.__name__:12} {time.perf_counter() - start:5.1f} s  {said}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
