"""What the README and the help pages say is so: commands run, tables and names are the program's, lines are short."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import help_tables as tables
import pytest
from command_line import MAIN, ROOT, environment, localmix

from localmix import help as pages
from localmix.answer.options import Options
from localmix.network import FAMILIES
from quant import FORMATS
from quant.recipe import RECIPES

PAGES = {topic: (tables.FOLDER / f"{topic}.md").read_text() for topic in pages.TOPICS}
TEXTS = {"README.md": (ROOT / "README.md").read_text()} | PAGES
# Why a command is not run here: it wants a model from the hub, somebody at a terminal, or a GPU.
MARKS = ("download", "terminal", "gpu")
FILES = {
    "stories.txt": "Once upon a time, there was a cat who lived in a small house by the sea. " * 40,
    "sums.txt": "17 + 25 = 42. 3 + 4 = 7. " * 99,
    "topics.txt": "cat\ndog\n",
    "prompts.jsonl": '{"prompt": "Once", "max_tokens": 5}\n{"prompt": "Two", "max_tokens": 5}\n',
}


class Command(NamedTuple):
    """A line that a reader may type; `mark` says why it is not run."""

    line: str
    mark: str


def commands() -> Iterator[Command]:
    for text in TEXTS.values():
        for mark, block in re.findall(r"^```console ?(.*?)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield from (Command(line, mark) for line in re.findall(r"^\$ (.*)", block, re.MULTILINE))


COMMANDS = list(dict.fromkeys(commands()))


def calls(line: str) -> Iterator[list[str]]:
    """What follows each `localmix` in a line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] | None = None
    for word in [*lexer, ";"]:
        if word and not word.strip("|&;<>"):
            if words is not None:
                yield words
            words = None
        elif words is not None:
            words.append(word)
        elif word == "localmix":
            words = []


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.line)
def test_every_command_line_can_be_read(one: Command) -> None:
    assert one.mark in ("", *MARKS)
    found = list(calls(one.line))
    assert found
    for name, *rest in found:
        tables.GROUP.commands[name].make_context(name, rest).close()


def readable(name: str, rest: list[str]) -> None:
    """A command line in a sentence may leave out what must be given, but name nothing that does not exist."""
    try:
        tables.GROUP.commands[name].make_context(name, list(rest)).close()
    except Exception as error:
        if not re.search("Missing|requires an argument", str(error)):
            raise


def test_there_are_commands_of_every_kind() -> None:
    assert {one.mark for one in COMMANDS} == {"", *MARKS}
    assert len(COMMANDS) > 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name, and with `localmix` as a program."""
    folder = tmp_path_factory.mktemp("examples")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (schema,) = (block for block in re.findall(r"```json\n(.*?)```", PAGES["structured"], re.DOTALL))
    (folder / "person.json").write_text(schema)
    (folder / "models").symlink_to(ROOT / "models")
    (folder / "bin").mkdir()
    program = folder / "bin" / "localmix"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(MAIN)} "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("one", [one for one in COMMANDS if not one.mark], ids=lambda one: one.line)
def test_what_is_not_marked_runs(one: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    places = {"LOCALMIX_STATE": str(place / "state"), "LOCALMIX_MODELS": str(place / "pulled")}
    if not re.search("[|<;]|=.* localmix", one.line):
        done = localmix(*next(calls(one.line)), **places)
    else:
        variables = environment(**places)
        variables["PATH"] = f"{place / 'bin'}:{variables['PATH']}"
        done = subprocess.run(
            ["bash", "-c", one.line], env=variables, capture_output=True, text=True, check=False, timeout=120
        )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [*TEXTS])
def test_inline_commands_and_options_exist(name: str) -> None:
    known = {"--help", "--version", "--install-completion", "--show-completion", "--no-deps", "--model"}
    for command in tables.GROUP.commands.values():
        known |= {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    for text in re.findall(r"`([^`\n]*localmix [a-z]+[^`\n]*)`", TEXTS[name]):
        for command, *rest in calls(text.replace("\\|", "|")):
            if command != "x" and not command.startswith("-"):
                readable(command, rest)
    for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", TEXTS[name]):
        assert option in known, option


@pytest.mark.parametrize("name", [*TEXTS])
def test_no_line_is_long_but_for_links(name: str) -> None:
    for line in TEXTS[name].splitlines():
        assert len(re.sub(r"\]\([^)]*\)", "]", line)) <= 120, line


@pytest.mark.parametrize("topic", pages.TOPICS)
def test_tables_are_those_of_the_program(topic: str) -> None:
    assert tables.filled(PAGES[topic]) == PAGES[topic], "run python tests/help/help_tables.py"


def test_every_page_is_a_topic_and_every_command_has_its_options_shown() -> None:
    assert {path.stem for path in tables.FOLDER.glob("*.md")} == set(pages.TOPICS)
    for name in tables.GROUP.commands:
        assert f"help_tables.py: options {name} -->" in PAGES["options"]


def test_defaults_of_sampling() -> None:
    described = dict(re.findall(r"^\| `--([a-z-]+)` \| (.*?) \|", PAGES["settings"], re.MULTILINE))
    for name in ("temp", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n"):
        assert described[name.replace("_", "-")] == str(getattr(Options, name))


def test_every_variable_is_described() -> None:
    for path in [*(ROOT / "localmix").rglob("*.py"), *(ROOT / "quant").rglob("*.py")]:
        for name in re.findall(r"\"((?:LOCALMIX|MLX)_[A-Z_]+[A-Z])\"", path.read_text()):
            assert name in PAGES["settings"] or name == "MLX_ENABLE_TF", (path, name)


def test_every_family_format_and_recipe_is_named() -> None:
    for architecture, _ in FAMILIES:
        assert f"`{architecture}`" in PAGES["models"], architecture
    for name in FORMATS:
        assert re.search(rf"\b{name.upper()}\b", PAGES["models"]), name
    for name in RECIPES:
        assert re.search(rf"\b{name}\b", PAGES["quantize"]), name


def test_every_option_of_the_library_is_named() -> None:
    for name in Options.__dataclass_fields__:
        assert f"`{name}`" in PAGES["library"], name


def test_the_library_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGES["library"], re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    assert "length" in capsys.readouterr().out
    assert len(scope["chat"].messages) == 4


def test_paths_in_the_repository_exist() -> None:
    for name, text in TEXTS.items():
        for path in re.findall(r"`((?:localmix|quant|tests|models)/[\w./*-]+)`", text):
            if re.search(r"\bx\b|\.\.\.", path) is None:
                assert list(ROOT.glob(path)), (name, path)
