import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Terminal, localmix
from small_models import STORIES

RAW = ("run", "-m", STORIES, "--raw", "--temp", 0, "-n", 12, "--seed", 1)
PROMPTS = ["Once", "Once upon a time there was", "One day", "Lily and Tom", "The"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return written(tmp_path / "prompts.jsonl", *PROMPTS)


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rows(text: str) -> dict[object, dict[str, object]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def test_each_line_is_answered_as_it_is_alone(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = localmix(*RAW, "--file", prompts, "-o", out, "--parallel", 2)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "5 of 5 answered" in done.stderr
    found = rows(out.read_text())
    for number, prompt in enumerate(PROMPTS, 1):
        assert found[number]["text"] == localmix(*RAW, prompt).stdout[:-1]
    assert rows(localmix(*RAW, "-f", "-", "-q", stdin=prompts.read_bytes()).stdout) == found


def test_a_line_may_have_options_of_its_own(tmp_path: Path, chatty_path: Path) -> None:
    file = written(
        tmp_path / "prompts.jsonl",
        {"id": "a", "prompt": "Hello", "max_tokens": 3},
        {"id": "b", "prompt": "Hello", "temp": 1.5, "seed": 4},
        {"messages": [{"role": "user", "content": "Hello"}], "stop": ["a"]},
    )
    common = ("run", "-m", chatty_path, "--temp", 0, "-n", 12, "-q")
    found = rows(localmix(*common, "-f", file).stdout)
    assert (found["a"]["tokens"], found["a"]["reason"]) == (3, "length")
    assert found["b"]["seed"] == 4
    assert found["b"]["text"] + "\n" == localmix(*common, "Hello", "--temp", 1.5, "--seed", 4).stdout
    assert found[3]["text"] + "\n" == localmix(*common, "Hello", "--stop", "a").stdout


@pytest.mark.parametrize("kept", [0, 1, 250, 10_000])
def test_taken_up_where_it_stopped(prompts: Path, tmp_path: Path, kept: int) -> None:
    out = tmp_path / "out.jsonl"
    assert localmix(*RAW, "-f", prompts, "-o", out).returncode == 0
    whole = out.read_bytes()
    out.write_bytes(whole[:kept])  # as a kill leaves it
    done = localmix(*RAW, "-f", prompts, "-o", out)
    assert done.returncode == 0, done.stderr
    assert rows(out.read_text()) == rows(whole.decode())
    finished = whole[:kept].count(b"\n")
    assert out.read_bytes().startswith(b"".join(whole.splitlines(keepends=True)[:finished]))
    assert ("cut off" in done.stderr) == (0 < kept < len(whole))
    assert (f"{finished} of 5 are already answered" in done.stderr) == (finished > 0)


def test_ctrl_c_keeps_what_is_answered(tmp_path: Path, folder: Path, terminal: Callable[..., Terminal]) -> None:
    lines = [{"id": i, "prompt": "Once", "max_tokens": 5 if i % 2 else 400} for i in range(200)]
    file, out = written(tmp_path / "prompts.jsonl", *lines), tmp_path / "out.jsonl"
    common = ("run", "-m", STORIES, "--raw", "--temp", 0, "--backend", "reference", "-f", file, "-o", out)
    screen = terminal(*common, "--parallel", 2)
    screen.until(" of 200 answered")
    while not (out.exists() and out.read_bytes().count(b"\n") > 2):
        screen.until(" of 200 answered")
        screen.seen = ""
    os.write(screen._leader, b"\x03")
    assert screen.end() == 130
    assert "Traceback" not in screen.seen
    assert 2 < len(rows(out.read_text())) < 200


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: "),
        ("3", 'line 2: expected a string, or an object with either "prompt" or "messages"'),
        ('{"prompt": "a", "messages": []}', "either"),
        ('{"prompt": 4}', "the prompt 4: expected a string"),
        ('{"prompt": "a", "temprature": 1}', "unknown key 'temprature': expected one of id, prompt"),
        ('{"prompt": "a", "temp": "hot"}', "temp = 'hot': expected a number"),
        ('{"prompt": "a", "id": 1}', "line 2: the id 1 appears twice"),
        ('{"prompt": "a", "id": [1]}', "the id [1]: expected a string or a whole number"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "messages with --raw"),
        ('{"messages": [{"role": "user"}]}', "the message {'role': 'user'}: expected"),
        ('{"messages": 1}', "expected a non-empty list"),
        ('{"prompt": "a", "grammar": "root ::= ("}', "grammar: "),
        (json.dumps("word " * 600), "tokens, the context holds 512"),
    ],
)
def test_a_wrong_line_is_named_before_any_is_answered(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'"Once"\n{line}\n')
    out = tmp_path / "out.jsonl"
    done = localmix(*RAW, "-f", file, "-o", out)
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]  # the first one may have to
    assert (done.returncode, out.exists(), len(said)) == (1, False, 1)
    assert f"{file} line 2: " in done.stderr
    assert message in done.stderr


def test_answers_to_other_prompts_are_not_taken_for_these(prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    localmix(*RAW, "-f", prompts, "-o", out)
    before = out.read_bytes()
    for change in (("--seed", 3), ("-n", 11), ("--temp", 1)):
        done = localmix(*RAW, "-f", prompts, "-o", out, *change)
        assert (done.returncode, out.read_bytes()) == (1, before)
        assert f"{out}: 1 was answered for another prompt, model or options" in done.stderr
    out.write_text("a diary\n")
    done = localmix(*RAW, "-f", prompts, "-o", out)
    assert (done.returncode, out.read_text()) == (1, "a diary\n")
    assert f"{out} line 1: not an answer of localmix run --file" in done.stderr


def test_options_that_do_not_go_together(prompts: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("-f", prompts, "hello"), "--file with a prompt"),
        (("-f", prompts, "--ndjson"), "--file with --ndjson"),
        (("-o", tmp_path / "out", "hello"), "-o without --file"),
        (("-f", tmp_path / "none"), "cannot be read: No such file"),
        (("-f", prompts, "-o", tmp_path / "no" / "out"), "cannot be written"),
    ):
        done = localmix(*RAW, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert message in done.stderr
