"""What people type who come from other programs, and what their machines are like."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import MAIN, SECONDS, environment, localmix
from small_models import STORIES

RUN = ("run", "-m", STORIES, "--raw", "One day", "--backend", "reference")
SHORT = (*RUN, "-n", 4, "--temp", 0, "-q")


def answer(*arguments: object, **changes: str) -> dict[str, object]:
    done = localmix(*RUN, *arguments, "--json", **changes)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("limit", ["-1", "-2"])
def test_minus_one_is_no_limit(limit: str) -> None:
    assert answer("-n", limit, "-c", 16)["reason"] == "context"


@pytest.mark.parametrize("file", [False, True])
def test_no_tokens_at_all(file: bool, tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text('"One day"\n')
    given = ("run", "-m", STORIES, "--raw", "--file", tmp_path / "prompts") if file else (*RUN, "--json")
    done = localmix(*given, "-n", 0, "-q")
    found = json.loads(done.stdout)
    assert (found["text"], found["reason"], found["tokens"]) == ("", "length", 0), done.stderr
    assert found["prompt_tokens"] > 1


def test_zero_and_minus_one_are_what_holds_without_the_option() -> None:
    plain = localmix(*SHORT).stdout
    assert localmix(*SHORT, "-c", 0, "-t", -1).stdout == plain
    texts = [
        answer("-n", 9, "-s", 1, "--temp", 9, "--min-p", 0, "--top-p", 1, "--top-k", k)["text"] for k in (-1, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("place", ["option", "variable"])
def test_seed_minus_one_is_a_new_one_that_is_named(place: str) -> None:
    given: tuple[object, ...] = ("--seed", -1) if place == "option" else ()
    changes = {} if place == "option" else {"LOCALMIX_SEED": "-1"}
    done = [localmix(*RUN, "-n", 30, "--temp", 2, *given, **changes) for _ in range(2)]
    assert done[0].stdout != done[1].stdout
    for one in done:
        found = re.search(r"seed (\d+)$", one.stderr)
        assert found is not None
        assert localmix(*RUN, "-n", 30, "--temp", 2, "--seed", found[1]).stdout == one.stdout


def test_seeds_below_are_refused() -> None:
    done = localmix(*RUN, "--seed", -7)
    assert (done.returncode, done.stderr) == (1, "localmix: seed = -7: expected 0 or more\n")


def test_a_schema_or_grammar_is_text_or_a_file(tmp_path: Path) -> None:
    schema, grammar = '{"enum": ["a//b", "a//b"]}', 'root ::= "yes"'
    assert json.loads(localmix(*RUN, "-q", "--json-schema", schema).stdout) == "a//b"
    assert localmix(*RUN, "-q", "--grammar", grammar).stdout == "yes\n"
    for name, text in (("json-schema", schema), ("grammar", grammar)):
        (tmp_path / name).write_text(text)
        from_file = localmix(*RUN, "-q", f"--{name}", f"~/{name}", HOME=str(tmp_path))
        assert from_file.stdout == localmix(*RUN, "-q", f"--{name}", text).stdout, from_file.stderr
    done = localmix(*RUN, "--json-schema", "none.json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none.json: cannot be read" in done.stderr


def test_a_tilde_is_the_home_folder_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").symlink_to(STORIES)
    place = {"HOME": str(tmp_path), "LOCALMIX_MODELS": "~/models"}
    assert str(tmp_path / "models") in localmix("list", **place).stderr
    assert localmix("info", "~/m.gguf", **place).returncode == 0
    assert localmix("info", **place, LOCALMIX_MODEL="~/m.gguf").returncode == 0
    (tmp_path / "settings.toml").write_text('model = "~/m.gguf"\n')
    assert localmix("info", **place, LOCALMIX_CONFIG="~/settings.toml").returncode == 0
    assert str(tmp_path / "n.gguf") in localmix("info", "-m", "~/n.gguf", **place).stderr


NOBODY = """
import pwd
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
from localmix.cli import main
main()
"""


@pytest.mark.parametrize("command", ["--version", "list", "config", "info", "chat --resume"])
def test_without_a_home_folder_no_command_is_a_traceback(command: str, tmp_path: Path) -> None:
    variables = {key: value for key, value in environment().items() if not key.startswith(("LOCALMIX", "XDG", "HOME"))}
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, *command.split()],
        env=variables | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == int("resume" in command), done.stderr
    assert done.stderr.count("\n") <= 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("encoding", "written"), [("utf-8", "é🙂"), ("latin-1", "é\\U0001f642"), ("ascii", "\\xe9\\U0001f642")]
)
def test_what_stdout_cannot_encode_is_an_escape_and_said(encoding: str, written: str) -> None:
    arguments = (*RUN, "-q", "--grammar", 'root ::= "é🙂"')
    done = subprocess.run(
        [*MAIN, *map(str, arguments)], env=environment(PYTHONIOENCODING=encoding), capture_output=True, check=False
    )
    assert done.stdout.decode(encoding) == written + "\n"
    assert (b"escapes" in done.stderr) == (encoding != "utf-8")
    for how in ("--json", "--ndjson"):
        done = subprocess.run(
            [*MAIN, *map(str, arguments), how],
            env=environment(PYTHONIOENCODING=encoding),
            capture_output=True,
            check=False,
        )
        assert json.loads(done.stdout.splitlines()[-1])["text"] == "é🙂"
        assert done.stderr == b""


def test_a_prompt_is_utf_8_in_every_locale() -> None:
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    arguments = ("run", "-m", STORIES, "--raw", "Größe", "-n", 4, "--temp", 0, "--json", "--backend", "reference")
    found = json.loads(localmix(*arguments, **posix).stdout)
    assert found["prompt_tokens"] == json.loads(localmix(*arguments).stdout)["prompt_tokens"]
    command = [*map(os.fsencode, MAIN), b"run", b"-m", os.fsencode(STORIES), b"--raw", b"a\xff"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "found byte 0xff, expected UTF-8 text" in done.stderr


def test_a_pipe_that_nobody_closes_is_said_to_be_waited_for() -> None:
    command = [*MAIN, *map(str, SHORT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert "waiting for the end of stdin" in (said := process.stderr.readline())
        assert "</dev/null" in said
        time.sleep(0.5)
        process.stdin.write("Lily\n")
        process.stdin.close()
        assert process.stdout.read() == localmix(*SHORT, stdin=b"Lily\n").stdout
        assert process.stderr.read() == ""
        assert process.wait() == 0
