"""Models that think, in a terminal and in a pipe: thoughts are folded or left out, and markup is never seen."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import command_line
import pytest
import small_models
from screens import Screen

import localmix
from localmix.markup.harmony import MARKERS

HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "{% if reasoning_effort %}Reasoning: {{ reasoning_effort }}{% endif %}<|start|>assistant"
    "{# <|channel|>analysis<|message|> #}"
)
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n<think>\n"
    "{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}"
)
ALWAYS = QWEN.partition("{% if enable")[0]  # DeepSeek-R1's and others': no switch
# A model that writes what it is told to, whatever the weights are.
PARROT = """
class Parrot:
    seed, plain, held = 1, False, False
    def __init__(self, model, text):
        self.ids = iter([*model.tokenizer.encode(text, bos=False), model.tokenizer.eos])
    def __call__(self, logits, ids):
        return next(self.ids)
"""
RUN = f"""{PARROT}
import os
from localmix.cli import main
from localmix.model import Model
Model.sampler = lambda model, options: Parrot(model, os.environ["SAYS"])
main()
"""
BROKEN = (
    "<|channel|>commentary<|channel|>analysis<|message|>Hm hm.<|end|><|start|>assistant<|channel|>fnal"
    "<|message|>Yes so.",
    "<|channel|>analysis<|message|>Hm hm.<|channel|>final Yes so.",
    "<|start|>assistant<|channel|>analysis<|message|>Hm hm.<|end|><|message|><|constrain|>Yes so.<|return|><|chan",
    "<|channel|>analysis<|message|>Hm hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
    '<|constrain|>json<|message|>{"a": 1}<|call|>Yes so.',
)


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "MAIN", [sys.executable, "-W", "error", "-c", RUN])


@pytest.fixture(scope="module")
def harmony_path(folder: Path) -> Path:
    return small_models.chatty_stories(folder / "harmony.gguf", HARMONY)


@pytest.fixture(scope="module")
def qwen_path(folder: Path) -> Path:
    return small_models.chatty_stories(folder / "qwen.gguf", QWEN)


@pytest.fixture(scope="module")
def always_path(folder: Path) -> Path:
    return small_models.chatty_stories(folder / "always.gguf", ALWAYS)


@pytest.fixture
def screens(parrot: None, tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def start(*arguments: object, says: str) -> Screen:
        opened.append(Screen(*arguments, "--backend", "reference", SAYS=says, LOCALMIX_STATE=str(tmp_path / "state")))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.parametrize("says", BROKEN, ids=range(len(BROKEN)))
def test_no_markup_is_ever_on_the_screen(screens: Callable[..., Screen], harmony_path: Path, says: str) -> None:
    one = screens("chat", "-m", harmony_path, says=says)
    one.say("Hello")
    one.wait(lambda: "Yes so." in one.text)
    assert "thought for" in one.text
    one.say("/thought")
    one.wait(lambda: "Hm hm." in one.text.partition("/thought\n")[2])
    assert not [marker for marker in (*MARKERS, "<|", "|>", "functions.") if marker in one.seen]


def test_pipes_get_what_is_said(parrot: None, harmony_path: Path, qwen_path: Path) -> None:
    said = "Hm hm.\n</think>\n\nYes so."
    run = lambda *given: command_line.localmix("run", "Hello", "--backend", "reference", *given, SAYS=said)  # noqa: E731
    plain = run("-m", qwen_path)
    assert (plain.returncode, plain.stdout) == (0, "Yes so.\n"), plain.stderr
    assert run("-m", qwen_path, "--show-thinking").stdout == "Thinking:\nHm hm.\n\n\nAnswer:\nYes so.\n"
    row = json.loads(run("-m", qwen_path, "--json").stdout)
    assert (row["text"], row["thinking"]) == ("Yes so.", "Hm hm.\n")
    events = [json.loads(line) for line in run("-m", qwen_path, "--ndjson").stdout.splitlines()]
    assert "".join(e["text"] for e in events if e["event"] == "thinking") == "Hm hm.\n"
    assert "".join(e["text"] for e in events if e["event"] == "text") == "Yes so."
    assert sum(len(e["ids"]) for e in events[:-1]) <= events[-1]["tokens"]


def test_what_a_template_cannot_be_told_is_refused(parrot: None, harmony_path: Path, chatty_path: Path) -> None:
    for path, option, message in (
        (harmony_path, "--no-think", "a low reasoning effort keeps it short"),
        (chatty_path, "--think", "its template has no place for thoughts"),
        (chatty_path, "--reasoning-effort=low", "has no place for it"),
        (harmony_path, "--reasoning-effort=huge", "expected one of low, medium, high"),
    ):
        done = command_line.localmix("run", "Hello", "-m", path, option, SAYS="Yes")
        assert done.returncode == 1
        assert message in done.stderr.splitlines()[-1]


def test_history_has_no_thoughts(qwen_path: Path, harmony_path: Path) -> None:
    """And a prompt ends as is wanted: a thought begun, or closed at once."""
    exec(PARROT, names := {})
    for path, says in ((qwen_path, "Hm hm.\n</think>\n\nYes so."), (harmony_path, BROKEN[1])):
        model = localmix.load(path, "reference")
        model.sampler = lambda options, model=model, says=says: names["Parrot"](model, says)
        chat = model.chat()
        answer = chat.send("Hello")
        assert "".join(answer) == answer.text == "Yes so."
        assert answer.thought.strip() == "Hm hm."
        assert answer.stats.tokens == len(model.tokenizer.encode(says, bos=False))
        assert chat.messages[-1].ids is None
        chat.send("And?").read()
        assert "Hm" not in model.tokenizer.decode(chat.context.ids).partition("And?")[0]
    chat = localmix.load(qwen_path, "reference").chat(think=False)
    chat.send("Hello", max_tokens=0).read()
    assert chat.model.tokenizer.decode(chat.context.ids).endswith("<think>\n</think>\n\n")


def test_a_thought_that_is_always_opened_is_ended_at_once(always_path: Path, qwen_path: Path) -> None:
    """The prompt is then what a template with a switch prints, and the next one goes on from it."""
    exec(PARROT, names := {})
    model = localmix.load(always_path, "reference")
    model.sampler = lambda options: names["Parrot"](model, "Yes so.")
    chat = model.chat(think=False)
    chat.send("Hello", max_tokens=0).read()
    prompt = model.tokenizer.decode(chat.context.ids).replace(" ", "")  # this tokenizer begins words with one
    assert prompt.endswith("<think>\n\n</think>\n\n")
    assert chat.send("Hello").read() == "Yes so."
    assert not chat.messages[-1].more
    chat.think_so(None)
    chat.send("Hello", max_tokens=0).read()
    assert model.tokenizer.decode(chat.context.ids).endswith("<think>")


def test_stop_strings_count_in_what_is_said(qwen_path: Path, harmony_path: Path) -> None:
    exec(PARROT, names := {})
    harmony = "<|channel|>analysis<|message|>Hm so.<|end|><|start|>assistant<|channel|>final<|message|>Yes so. No."
    for path, says in ((qwen_path, "Hm so.\n</think>\n\nYes so. No."), (harmony_path, harmony)):
        model = localmix.load(path, "reference")
        model.sampler = lambda options, model=model, says=says: names["Parrot"](model, says)
        answer = model.chat().send("Hello", stop=(" so", "final"))
        assert (answer.read(), answer.thought.strip(), answer.reason) == ("Yes", "Hm so.", "stop")
