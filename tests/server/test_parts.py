"""Text taken apart: the same however it comes, and nothing a model writes is an error."""

import json

import pytest

from localmix.markup import Call, Marker, Pairs, Part, Said
from localmix.markup.calls import read_json, read_named, read_xml

THINK = Marker("<think>", "</think>")
HERMES = Marker("<tool_call>", "</tool_call>", read_json)
XML = Marker("<tool_call>", "</tool_call>", read_xml)
MISTRAL = Marker("[TOOL_CALLS]", "", read_named)
ONE = Call("f", '{"a": 1}')

CASES = [
    ([HERMES], None, "Hello <b>", [Said("content", "Hello <b>")]),
    ([HERMES], None, 'Now\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
     [Said("content", "Now\n"), ONE]),
    ([HERMES], None,
     '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>\n<tool_call>{"name": "g"}</tool_call>',
     [ONE, Call("g", "{}")]),
    ([HERMES], None, "<tool_call>oh</tool_call>", [Said("content", "<tool_call>oh</tool_call>")]),
    ([HERMES], None, '<tool_call>{"name": "f", "arguments": {"a": 1}}', [ONE]),
    ([HERMES, THINK], None, "<think>\nWell.\n</think>\n\nYes", [Said("reasoning", "Well.\n"), Said("content", "Yes")]),
    ([THINK], THINK, "Well.</think>Yes < no", [Said("reasoning", "Well."), Said("content", "Yes < no")]),
    ([THINK], THINK, "Well. </th", [Said("reasoning", "Well. </th")]),
    ([XML], None, "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>", [ONE]),
    ([MISTRAL], None, '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]', [ONE]),
    ([MISTRAL], None, 'Ok[TOOL_CALLS]f[ARGS]{"a": 1}', [Said("content", "Ok"), ONE]),
    ([MISTRAL], None, "[TOOL_CALLS]{", [Said("content", "[TOOL_CALLS]{")]),
    ([HERMES], Marker("", "</tool_call>", read_json), '{"name": "f", "arguments": {"a": 1}}', [ONE]),
]  # fmt: skip


def joined(parts: list[Part]) -> list[Part]:
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Said) and out and isinstance(out[-1], Said) and out[-1].kind == part.kind:
            out[-1] = Said(part.kind, out[-1].text + part.text)
        else:
            out.append(part)
    return out


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2][:20])
def test_parts(case: tuple[list[Marker], Marker | None, str, list[Part]], size: int) -> None:
    markers, inside, text, expected = case
    parts, found = Pairs(markers, inside), list[Part]()
    for at in range(0, len(text), size):
        found += parts.push(text[at : at + size])
    assert joined([*found, *parts.end()]) == expected


def test_what_cannot_be_a_marker_is_not_held_back() -> None:
    parts = Pairs([HERMES, THINK])
    assert parts.push("a < b") == [Said("content", "a < b")]
    assert parts.push(" <th") == [Said("content", " ")]
    assert parts.push("e") == [Said("content", "<the")]


def test_arguments_are_a_json_object_or_there_is_no_call() -> None:
    for text in ("", "{}", '{"name": 3}', '{"name": "f", "arguments": []}', '{"name": "f", "arguments": "x"}', "[1]"):
        assert not read_json(text)
    (call,) = read_json('{"name": "f", "parameters": {"ü": "ß"}}') or ()
    assert json.loads(call.arguments) == {"ü": "ß"}
