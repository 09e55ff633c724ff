"""gpt-oss's answers: those that openai-harmony reads give the same here, and broken ones are never shown raw."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from localmix.markup import Call, Part, Said
from localmix.markup.harmony import MARKERS, Harmony

ROWS = json.loads((Path(__file__).parents[1] / "data" / "harmony.json").read_text())


def parse(text: str, size: int, *, calls: bool = True) -> list[Part]:
    """Neighbours of one kind joined."""
    parser, found = Harmony(calls=calls), list[Part]()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    for part in [part for piece in pieces for part in parser.push(piece)] + parser.end():
        if isinstance(part, Said) and found and isinstance(found[-1], Said) and found[-1].kind == part.kind:
            found[-1] = Said(part.kind, found[-1].text + part.text)
        else:
            found.append(part)
    return found


def texts(parts: list[Part], kind: str) -> str:
    return "".join(part.text for part in parts if isinstance(part, Said) and part.kind == kind)


def expected(messages: list[Any], kind: str) -> str:
    """The text of a kind: messages of their own are paragraphs here."""
    shown = {"content": ("final", "commentary"), "reasoning": ("analysis",)}[kind]
    return "\n\n".join(m["text"] for m in messages if m["channel"] in shown and m["text"] and not m["recipient"])


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["text"][-20:])
def test_as_openai_harmony(row: Any, size: int) -> None:
    parts = parse(row["text"], size)
    for message in row["messages"]:
        if (message["recipient"] or "").startswith("<|constrain|>"):
            message["recipient"] = None  # it takes the type of a final message for whom that is to
    called = [m for m in row["messages"] if m["recipient"]]
    code = [m for m in called if not m["text"].startswith("{")]  # a tool of gpt-oss's own, asked while it thinks
    assert texts(parts, "content") == expected(row["messages"], "content")
    assert texts(parts, "reasoning") == expected(row["messages"], "reasoning") + "".join(m["text"] for m in code)
    calls = [(part.name, json.loads(part.arguments)) for part in parts if isinstance(part, Call)]
    assert calls == [
        (m["recipient"].removeprefix("functions."), json.loads(m["text"])) for m in called if m not in code
    ]


BROKEN = [
    # Two channels, one that does not exist, one without a name, none at all.
    ("<|channel|>commentary<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes",
     "Yes", "Hm."),
    ("<|channel|>analysisfinal<|message|>Hm.<|end|><|channel|>fnal<|message|>Yes", "Yes", "Hm."),
    ("<|channel|><|message|>Yes", "Yes", ""),
    ("<|message|>Yes", "Yes", ""),
    ("Yes, of course.\nAll of it.", "Yes, of course.\nAll of it.", ""),
    ("Assistants are", "Assistants are", ""),
    ("assistants are what\nthey are", "assistants are what\nthey are", ""),
    ("final answer: 42", "final answer: 42", ""),
    # No <|message|>, no <|end|>, no <|start|>.
    ("<|channel|>final Yes, it is<|return|>", "Yes, it is", ""),
    ("<|channel|>final\nYes, it is<|return|>", "Yes, it is", ""),
    ("<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes", "Yes", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>final<|message|>Yes", "Yes", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|end|>assistant<|channel|>final<|message|>Yes", "Yes", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|end|>Yes", "Yes", "Hm."),
    ("<|channel|>final<|message|>Yes <|message|><|constrain|>indeed", "Yes indeed", ""),
    # Cut off in a header.
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|chan", "", "Hm."),
    ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>fin", "", "Hm."),
    ("<|channel|>commentary to=functions.f <|constrain|>json", "", ""),
    (" to=functions.f", "", ""),
    # Others speak; what calls a tool is no call.
    ("<|channel|>final<|message|>Yes<|end|><|start|>user<|message|>And?<|end|>", "Yes", "And?"),
    ("<|channel|>commentary to=functions.f<|message|>oh", "oh", ""),
    ("<|start|>assistant<|channel|>final<|message|>Yes<|end|><|end|><|return|>", "Yes", ""),
    ("<|channel|>final" + "o" * 300 + " is it", "o" * 145 + " is it", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "content", "reasoning"), BROKEN, ids=[text[:40] for text, *_ in BROKEN])
def test_broken_headers(text: str, content: str, reasoning: str) -> None:
    parts = parse(text, 10_000)
    assert (texts(parts, "content"), texts(parts, "reasoning")) == (content, reasoning)
    for size in (1, 2, 5):
        assert parse(text, size) == parts


def test_whatever_comes_nothing_is_shown_raw() -> None:
    """Markers, words of headers and text at random: no marker comes out, and pieces of any size give the same."""
    words = (*MARKERS, "assistant", "final", "analysis", "commentary", " to=functions.f", "json", '{"a": 1}', "Yes",
             "\n", " ", "<|", "|>", "x" * 200, "<|chan", "functions.f")  # fmt: skip
    draw = random.Random(0)
    for _ in range(2000):
        text = "".join(draw.choices(words, k=draw.randint(1, 12)))
        parts = parse(text, 10_000)
        assert parse(text, 1) == parts, text
        assert parse(text, 3) == parts, text
        shown = "".join(part.text for part in parts if isinstance(part, Said))
        assert not [marker for marker in MARKERS if marker in shown], text


def test_without_tools_a_call_is_text() -> None:
    text = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    assert parse(text, 4) == [Call("f", '{"a": 1}')]
    assert parse(text, 4, calls=False) == [Said("content", '{"a": 1}')]


def test_text_is_given_out_as_it_comes() -> None:
    parser = Harmony()
    parser.push("<|channel|>final<|message|>")
    assert parser.push("a") == [Said("content", "a")]
    assert parser.push(" < b <|") == [Said("content", " < b ")]
