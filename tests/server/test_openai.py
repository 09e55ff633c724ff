"""Chat and text completions through a socket, against the library's own answers."""

import json
import socket
import time
from typing import Any

import numpy as np
import pytest
from server.served import Served

HELLO = [{"role": "user", "content": "Hello"}]


def test_a_chat_is_the_librarys(server: Served, chatty_model: Any) -> None:
    found = server.post("/v1/chat/completions", messages=HELLO, temperature=0, max_tokens=12)
    alone = chatty_model.chat().send("Hello", temp=0, max_tokens=12)
    (choice,) = found["choices"]
    assert choice["message"]["content"] == alone.read()
    assert choice["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 12
    assert found["usage"]["prompt_tokens"] == alone.stats.prompt_tokens


def test_a_stream_is_the_whole_answer(server: Served) -> None:
    asked: Any = {"messages": HELLO, "seed": 3, "max_tokens": 20, "n": 2, "logprobs": True, "top_logprobs": 3}
    whole = server.post("/v1/chat/completions", **asked)
    events = server.events("/v1/chat/completions", **asked, stream_options={"include_usage": True})
    assert len({(e["id"], e["created"], e["model"]) for e in events}) == 1
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"] | {
        "prompt_tokens_details": events[-1]["usage"]["prompt_tokens_details"]
    }
    for place in (0, 1):
        parts = [e["choices"][0] for e in events[:-1] if e["choices"][0]["index"] == place]
        assert parts[0]["delta"] == {"role": "assistant", "content": ""}
        assert parts[-1]["delta"] == {}
        assert parts[-1]["finish_reason"] == "length"
        assert [p["finish_reason"] for p in parts[:-1]] == [None] * (len(parts) - 1)
        text = "".join(p["delta"].get("content", "") for p in parts)
        assert text == whole["choices"][place]["message"]["content"]
        told = [entry for p in parts if p["logprobs"] for entry in p["logprobs"]["content"]]
        assert told == whole["choices"][place]["logprobs"]["content"]
        assert bytes(byte for entry in told for byte in entry["bytes"]).decode() == text
    assert whole["choices"][0]["message"] != whole["choices"][1]["message"]  # seeds 3 and 4


def test_likelihoods_of_a_prompt(server: Served, chatty_model: Any) -> None:
    """Those of the logits, from one request and from a batch; the best of each is among them, the same number."""
    ids = chatty_model.tokenizer.encode("Once upon a time there was")
    found = server.post("/v1/completions", prompt=[ids, ids[:4]], echo=True, logprobs=1, max_tokens=1, temperature=0)
    logits = chatty_model.logits(ids).astype(np.float64)
    total = logits - np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    total -= logits.max(axis=1, keepdims=True)
    for choice, count in zip(found["choices"], (len(ids), 4), strict=True):
        log = choice["logprobs"]
        assert log["token_logprobs"][0] is None
        assert len(log["token_logprobs"]) == count + 1
        expected = [total[i, ids[i + 1]] for i in range(count - 1)]
        assert log["token_logprobs"][1:count] == pytest.approx(expected, abs=1e-4)
        for number, top in zip(log["token_logprobs"][1:], log["top_logprobs"][1:], strict=True):
            assert max(top.values()) >= number
        assert log["token_logprobs"][count] == max(log["top_logprobs"][count].values())
        starts = [*log["text_offset"][1:], len(choice["text"])]
        pieces = [choice["text"][a:b] for a, b in zip(log["text_offset"], starts, strict=True)]
        assert [p.strip() for p in pieces[1:]] == [t.strip() for t in log["tokens"][1:]]
    assert found["choices"][0]["text"].startswith("Once upon a time there was")


def test_no_answer_but_the_prompt(server: Served) -> None:
    found = server.post("/v1/completions", prompt="Once upon", echo=True, logprobs=0, max_tokens=0)
    assert found["choices"][0]["text"] == "Once upon"
    assert found["usage"]["completion_tokens"] == 0


def test_a_token_is_banned(server: Served) -> None:
    asked: Any = {"prompt": "Once upon a", "max_tokens": 1, "temperature": 0, "logprobs": 1}
    (id,) = server.post("/tokenize", content=" time")["tokens"][-1:]
    plain = server.post("/v1/completions", **asked)["choices"][0]
    banned = server.post("/v1/completions", **asked, logit_bias={str(id): -100})["choices"][0]
    assert plain["text"] == " time"
    assert banned["text"] != " time"


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        ({"messages": []}, 400, "messages"),
        ({"messages": HELLO, "max_tokens": "x"}, 400, "max_tokens"),
        ({"messages": HELLO, "temperature": -1}, 400, "temp"),
        ({"messages": HELLO, "n": 500}, 400, "n:"),
        ({"messages": HELLO, "n": 5}, 400, "1 to 4"),
        ({"messages": HELLO, "top_logprobs": 2}, 400, "logprobs"),
        ({"messages": HELLO, "logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"messages": HELLO, "logit_bias": {"99999": 1}}, 400, "99999"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "wizard"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "image_url"),
        ({"messages": [{"role": "user", "content": "word " * 600}]}, 400, "holds 512"),
        ({"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}}, 400,
         "type"),
        ({"messages": HELLO, "grammar": "root ::= ("}, 400, "grammar"),
        ({"messages": HELLO, "continue_final_message": True}, 400, "continue_final_message"),
        ({"messages": HELLO, "functions": [{"name": "f"}]}, 400, "functions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(server: Served, body: Any, status: int, word: str) -> None:
    for stream in (False, True):
        given = body | {"stream": stream} if isinstance(body, dict) else body
        found, error = server.fail("/v1/chat/completions", given)
        assert (found, word in error["message"]) == (status, True), error
    assert server.idle()


def test_the_tokens_of_a_conversation_are_counted(server: Served) -> None:
    counted = server.post("/v1/chat/completions/input_tokens", messages=HELLO)["input_tokens"]
    found = server.post("/v1/chat/completions", messages=HELLO, max_tokens=1)
    assert counted == found["usage"]["prompt_tokens"]


def test_a_prompt_that_is_too_long_is_measured(server: Served) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 600}]}
    status, error = server.fail("/v1/chat/completions", body)
    assert (status, error["type"], error["n_ctx"]) == (400, "exceed_context_size_error", 512)
    assert error["n_prompt_tokens"] > 600


def test_answers_are_held_to_a_schema(server: Served) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    for held in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}},
        {"response_format": {"type": "json_object", "schema": schema}},
        {"json_schema": schema},
    ):
        found = server.post("/v1/chat/completions", messages=HELLO, max_tokens=60, **held)
        assert json.loads(found["choices"][0]["message"]["content"])["a"] in ("x", "y")


def test_who_leaves_frees_the_place(server: Served) -> None:
    body = json.dumps({"prompt": "Once", "max_tokens": 400, "stream": True, "ignore_eos": True}).encode()
    for stream in (True, False):
        body = json.dumps({"prompt": "Once", "max_tokens": 500, "stream": stream, "ignore_eos": True}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            if stream:
                assert client.recv(100).startswith(b"HTTP/1.1 200")
            else:
                time.sleep(0.05)
        assert server.idle()


def test_tokens_and_back(server: Served) -> None:
    ids = server.post("/tokenize", content="Once upon a time", add_special=True)["tokens"]
    assert server.post("/tokenize", prompt="Once upon a time")["tokens"] == ids
    assert server.post("/detokenize", tokens=ids) == {"content": "Once upon a time", "prompt": "Once upon a time"}


def test_state(server: Served) -> None:
    status, _, raw = server.ask("GET", "/v1/models")
    (one,) = json.loads(raw)["data"]
    assert (status, one["object"], one["meta"]["n_vocab"]) == (200, "model", 512)
    assert server.ask("GET", f"/v1/models/{one['id']}")[0] == 200
    assert server.ask("GET", "/v1/models/other")[0] == 404
    assert server.ask("GET", "/health")[2] == b'{"status":"ok"}'
    assert b"vllm:generation_tokens_total" in server.ask("GET", "/metrics")[2]
    assert server.ask("GET", "/v1/completions")[0] == 405
    assert server.ask("GET", "/nowhere")[0] == 404
