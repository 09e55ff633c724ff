"""What the README shows works: the snippet runs, options exist with the defaults stated, paths lead somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest
from command_line import localmix

from localmix.answer.options import Options
from localmix.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
(MAP,) = re.findall(r"## Map of the code\n(.*?)\n## ", README, re.DOTALL)


def test_the_library_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    assert "length" in capsys.readouterr().out
    assert len(scope["chat"].messages) == 4


def options_of(*commands: str) -> set[str]:
    text = "".join(localmix(command, "--help").stdout for command in commands)
    return set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE))


def test_options_and_their_defaults() -> None:
    (table,) = re.findall(r"## Options of run and chat\n(.*?)\n## ", README, re.DOTALL)
    described: dict[str, str] = {}
    for row in table.splitlines():
        names, default = [*row.split("|"), "", ""][1:3]
        defaults = [part.strip() for part in default.split(",")]
        long = re.findall(r"`(--[a-z-]+)", names)
        described |= {name: defaults[i % len(defaults)] for i, name in enumerate(long)}
    assert set(described) | {"--help"} == options_of("run", "chat")
    for name in ("temp", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n"):
        assert described[f"--{name.replace('_', '-')}"] == str(getattr(Options, name))


def test_every_command_is_described() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.callback.__name__
        assert re.search(rf"^\| .*`(localmix )?{name}\b", README, re.MULTILINE), name


def test_options_in_examples_exist() -> None:
    for command, rest in re.findall(r"localmix (run|chat|info) (.*)", "\n".join(re.findall(r"^\$ (.*)", README, re.M))):
        assert set(re.findall(r"--[a-z-]+", rest)) <= options_of(command)


def test_the_map_is_complete_and_leads_somewhere() -> None:
    named = [
        ROOT / name if "/" in name else ROOT / "localmix" / name for name in re.findall(r"`([\w/]+(?:/|\.py))`", MAP)
    ]
    folders = [path for path in named if path.is_dir()]
    for path in named:
        inside = [folder / path.name for folder in folders]  # a module after the folder that it is in
        assert path.exists() or any(other.exists() for other in inside) or path.stem in ("x", "data", "peers"), path
    for path in (ROOT / "localmix").iterdir():
        if path.name.strip("_") not in ("init__.py", "pycache") and not path.name.startswith("."):
            assert path in named, f"{path} is not in the README's map"


def test_places_to_add_things_exist() -> None:
    for name, file in re.findall(r"`([A-Z_]\w+)` in `([\w/]+\.py)`", MAP):
        assert re.search(rf"^(class )?{name}\b", (ROOT / file).read_text(), re.MULTILINE), (name, file)
