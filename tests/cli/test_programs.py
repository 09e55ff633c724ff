"""What programs rely on: streams of JSON, forced answers, exit codes, completion."""

import json
import re
import resource
import subprocess
from pathlib import Path

import jsonschema
import pytest
from command_line import MAIN, environment, localmix
from small_models import STORIES

from localmix import help as pages

RAW = ("run", "-m", STORIES, "--raw", "Once upon a time", "-q")
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": -9, "maximum": 9}, "on": {"type": "boolean"}},
    "required": ["x", "on"],
    "additionalProperties": False,
}


def test_ndjson_adds_up_to_json() -> None:
    common = (*RAW, "--temp", 0, "-n", 12, "--seed", 1)
    *texts, end = [json.loads(line) for line in localmix(*common, "--ndjson").stdout.splitlines()]
    whole = json.loads(localmix(*common, "--json").stdout)
    assert {event["event"] for event in texts} == {"text"}
    assert "".join(event["text"] for event in texts) == end["text"] == whole["text"]
    assert sum(len(event["ids"]) for event in texts) == end["tokens"] == 12
    seconds = [event["seconds"] for event in texts]
    assert seconds == sorted(seconds)
    assert (end["event"], end["reason"]) == ("end", "length")
    assert set(end) == {"event", *whole}


def test_answers_held_to_a_schema_or_a_grammar(tmp_path: Path) -> None:
    schema, grammar = tmp_path / "point.json", tmp_path / "answer.gbnf"
    schema.write_text(json.dumps(POINT))
    grammar.write_text('root ::= "ja" | "nein"\n')
    for seed in (1, 2):
        jsonschema.validate(json.loads(localmix(*RAW, "--json-schema", schema, "--seed", seed).stdout), POINT)
    assert localmix(*RAW, "--grammar", grammar).stdout in ("ja\n", "nein\n")
    cut = json.loads(localmix(*RAW, "--json-schema", schema, "-n", 2, "--json").stdout)
    assert (cut["reason"], cut["tokens"]) == ("length", 2)
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "Once", "json_schema": POINT}, {"prompt": "Once"}, {"prompt": "One", "grammar": 'start: "x"'}]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = localmix("run", "-m", STORIES, "--raw", "-q", "-n", 40, "-f", prompts)
    rows = {row["id"]: row for row in map(json.loads, found.stdout.splitlines())}
    jsonschema.validate(json.loads(rows[1]["text"]), POINT)
    assert (rows[2]["tokens"], rows[3]["text"]) == (40, "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "json_schema: line 1"),
        ('{"type": "text"}', "type at #: Invalid type: text"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_schema_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    done = localmix(*RAW, "--json-schema", path)
    said = [line for line in done.stderr.splitlines() if "compiling" not in line]  # the first one may have to
    assert (done.returncode, done.stdout, len(said)) == (1, "", 1), done.stderr
    assert message in said[0]


def test_exit_codes() -> None:
    """0, 1 and 2 here; 130 and 141 are seen in test_run and test_run_file."""
    help = localmix("--help")
    text = " ".join(help.stdout.partition("Exit codes: ")[2].partition("\n\n")[0].split())
    table = re.findall(r"^\| (\d+) \|", pages.page("start"), re.MULTILINE)
    assert [re.match(r"\d+", part.strip()).group() for part in text.split(";")] == table  # type: ignore[union-attr]
    assert help.returncode == 0
    assert localmix("run", "-m", "none.gguf", "hi").returncode == 1
    assert localmix("run", "--no-such-option").returncode == 2
    assert localmix("run", "--temp", "hot", "hi").returncode == 2


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "localmix qu", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "localmix qu"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "localmix qu", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_completion(shell: str, variables: dict[str, str]) -> None:
    script = localmix("--show-completion", shell).stdout
    (name,) = set(re.findall(r"_\w*_COMPLETE(?==)", script)) - {"_TYPER_COMPLETE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        MAIN, env=environment(**variables, **{name: f"complete_{shell}"}), capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "quantize" in done.stdout
    assert "chat" not in done.stdout
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.8
    )  # a key is waiting; 0.15 s on a quiet machine
