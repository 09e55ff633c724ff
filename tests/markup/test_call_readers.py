"""Calls as each kind of model writes them, and what looks like a call and is none."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from localmix.markup import Call, markup_of
from localmix.markup.calls import read_gemma, read_json, read_keys, read_named, read_python, read_xml

Read = Callable[[str], list[Call] | None]
ARGUMENTS: dict[str, Any] = {
    "city": "Zürich, \"old\" <town>", "days": 2, "exact": True, "none": None, "share": -0.5,
    "parts": ["a", "b: {c}", 1], "more": {"x": {"y": []}},
}  # fmt: skip


def gemma(value: Any) -> str:
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{gemma(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(gemma, value)) + "]"
    return json.dumps(value)


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


WRITTEN: dict[str, tuple[Read, str]] = {
    "json": (read_json, json.dumps({"name": "weather", "arguments": ARGUMENTS})),
    "named": (read_named, f"weather[ARGS]{json.dumps(ARGUMENTS)}"),
    "xml": (read_xml, "<function=weather>\n" + "".join(
        f"<parameter={key}>\n{plain(value)}\n</parameter>\n" for key, value in ARGUMENTS.items()) + "</function>"),
    "glm": (read_keys, "weather\n" + "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{plain(value)}</arg_value>\n" for key, value in ARGUMENTS.items())),
    "gemma": (read_gemma, "call:weather" + gemma(ARGUMENTS)),
    "lfm2": (read_python, "[weather(" + ", ".join(f"{key}={value!r}" for key, value in ARGUMENTS.items()) + ")]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_kind_gives_the_same(kind: str) -> None:
    read, text = WRITTEN[kind]
    calls = read(text)
    assert calls is not None
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("weather", ARGUMENTS)]


@pytest.mark.parametrize(
    ("read", "text", "found"),
    [
        (read_keys, "now", [("now", {})]),
        (read_keys, "now\n", [("now", {})]),
        (read_keys, "f<arg_key> a </arg_key><arg_value>1", [("f", {"a": 1})]),  # cut off
        (read_keys, '{"name": "f", "arguments": {"a": 1}}', [("f", {"a": 1})]),  # as others write it
        (read_keys, "I call nothing.", None),
        (read_gemma, "call:now{}", [("now", {})]),
        (read_gemma, "call:a.b-c{x:[{y:1}, {z:false}]}", [("a.b-c", {"x": [{"y": 1}, {"z": False}]})]),
        (read_gemma, 'call:f{text:<|"|>{a:1, "b"}<|"|>}', [("f", {"text": '{a:1, "b"}'})]),
        (read_gemma, "call:f{a:}", None),
        (read_gemma, "call f", None),
        (read_python, "[f(a=1), g()]", [("f", {"a": 1}), ("g", {})]),
        (read_python, "f(a='x')", [("f", {"a": "x"})]),
        (read_python, "[tools.f(a=[1, {'b': None}])]", [("tools.f", {"a": [1, {"b": None}]})]),
        (read_python, "[f(1)]", None),
        (read_python, "[f(a=open('x'))]", None),  # nothing is ever run
        (read_python, "[f(a=1", None),
        (read_python, "[]", None),
        (read_python, "(" * 5000, None),
    ],
)
def test_others(read: Read, text: str, found: list[tuple[str, Any]] | None) -> None:
    calls = read(text)
    assert (None if calls is None else [(call.name, json.loads(call.arguments)) for call in calls]) == found


@pytest.mark.parametrize(
    ("sign", "open", "read"),
    [
        ("<arg_key>{{ k }}</arg_key>", "<tool_call>", read_keys),
        ("<|tool_call>call:{{ name }}", "<|tool_call>", read_gemma),
        ("<|tool_call_start|>[", "<|tool_call_start|>", read_python),
    ],
)
def test_the_template_says_which(sign: str, open: str, read: Read) -> None:
    found = markup_of(f"{{% for m in messages %}}{{{{ m.content }}}}{sign}{{% endfor %}}").call
    assert (found.open, found.read) == (open, read)
