"""llama.cpp's own interface: the same answers in its words; what its samplers have and ours have not is refused."""

import json
from typing import Any

import pytest
from server.served import Served

GREEDY: Any = {"prompt": "Once upon a", "n_predict": 12, "temperature": 0}


def test_it_is_the_completion(server: Served) -> None:
    text = server.post("/v1/completions", prompt="Once upon a", max_tokens=12, temperature=0)["choices"][0]["text"]
    found = server.post("/completion", **GREEDY, return_tokens=True)
    assert (found["content"], found["stop_type"], found["tokens_predicted"]) == (text, "limit", 12)
    assert (len(found["tokens"]), found["timings"]["predicted_n"], found["generation_settings"]["n_predict"]) == (
        12,
    ) * 3
    assert found["prompt"].endswith("Once upon a")
    *parts, last = server.events("/completion", **GREEDY)
    assert "".join(part["content"] for part in parts) == text
    assert [part["stop"] for part in parts] == [False] * len(parts)
    assert [id for part in parts for id in part["tokens"]] == found["tokens"]
    assert (last["stop"], last["content"], last["stop_type"]) == (True, "", "limit")


def test_several_prompts_are_a_list(server: Served) -> None:
    ids = server.post("/tokenize", content="Once upon a", add_special=True)["tokens"]
    found = server.post("/completion", **{**GREEDY, "prompt": ["Once upon a", ids, {"prompt_string": "Once upon a"}]})
    assert len({one["content"] for one in found}) == 1
    assert [one["index"] for one in found] == [0, 1, 2]


def test_a_stop_string_is_named(server: Served) -> None:
    text = server.post("/completion", **GREEDY)["content"]
    word = text.split()[1]
    found = server.post("/completion", **GREEDY, stop=["no such", word])
    assert (found["stop_type"], found["stopping_word"]) == ("word", word)
    asked: Any = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "temperature": 0}
    word = server.post("/v1/messages", **asked)["content"][0]["text"].split()[1]
    found = server.post("/v1/messages", **asked, stop_sequences=[word])
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", word)


def test_likelihoods_and_chosen_fields(server: Served) -> None:
    found = server.post("/completion", **GREEDY, n_probs=3)["completion_probabilities"]
    assert [len(one["top_logprobs"]) for one in found] == [3] * 12
    assert all(one["id"] == one["top_logprobs"][0]["id"] for one in found)
    few = server.post("/completion", **GREEDY, response_fields=["content", "generation_settings/seed", "nothing"])
    assert set(few) == {"content", "generation_settings/seed"}


def test_texts_may_be_banned(server: Served) -> None:
    word = server.post("/completion", **GREEDY)["content"].split()[0]
    assert word not in server.post("/completion", **GREEDY, logit_bias=[[f" {word}", False]])["content"].split()
    assert server.fail("/v1/completions", {"prompt": "x", "logit_bias": {" a": -100}})[0] == 400


@pytest.mark.parametrize(
    "asked", [{"mirostat": 2}, {"top_n_sigma": 1.5}, {"post_sampling_probs": True}, {"prompt": {}}]
)
def test_what_there_is_not_is_refused(server: Served, asked: dict[str, Any]) -> None:
    status, error = server.fail("/completion", {**GREEDY, **asked})
    assert (status, error["param"]) == (400, next(iter(asked)))
    server.post("/completion", **{**GREEDY, "mirostat": 0, "top_n_sigma": -1, "typical_p": 1.0})


def test_what_may_be_asked_is_described(server: Served) -> None:
    status, _, raw = server.ask("GET", "/openapi.json")
    found = json.loads(raw)
    schema = found["paths"]["/completion"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert status == 200
    assert found["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]["properties"]["n_predict"]
