"""The README is short, what it shows works, and what it says is what the help pages and the measurements say.

Its command lines and names are tested with those of the pages, in tests/help.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from localmix import help as pages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PEERS = ROOT / "tests" / "peers"
(MAP,) = re.findall(r"## Map of the code\n(.*?)\n## ", pages.page("inside"), re.DOTALL)


def section(title: str) -> str:
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(text)


def rows(text: str) -> list[list[str]]:
    """The cells of tables, without their heads."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for cells in found if not set("".join(cells)) <= set("-:")][1:]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1500


def test_the_first_command_with_pytest_is_what_ci_runs() -> None:
    first = next(line for line in README.splitlines() if "pytest" in line)
    assert first == "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"
    assert '.venv/bin/localmix run "Tell me a story about a cat"' in README


def test_the_library_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    assert capsys.readouterr().out
    assert len(scope["chat"].messages) == 4


@pytest.mark.parametrize("path", [ROOT / "README.md", *PEERS.glob("*.md"), *(ROOT / "localmix" / "help").glob("*.md")])
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_topic_is_linked() -> None:
    for topic in pages.TOPICS:
        assert f"[{topic}](localmix/help/{topic}.md)" in section("Help")


def test_models_are_those_of_the_page() -> None:
    known = [tuple(cells[-3:]) for cells in rows(pages.page("models")) if len(cells) == 6]
    for family, example, size, memory, read in rows(section("Which models run")):
        assert (size, memory.partition(" (")[0], read) in known, (family, example)


def test_speeds_are_those_of_the_newest_page() -> None:
    newest = max(path for path in PEERS.glob("*-speed.md")).read_text()
    table = rows(section("How fast"))
    assert len(table) == 7
    for cell in (cell for cells in table for cell in cells[1:] if cell):
        assert f"| {cell} |" in newest, cell


@pytest.mark.parametrize("path", sorted(PEERS.glob("20*.md")), ids=lambda path: path.stem)
def test_measurements_name_machine_versions_and_command(path: Path) -> None:
    text = path.read_text()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d-[a-z-]+", path.stem)
    for name in ("machine", "versions", "command"):
        assert re.search(rf"^\| {name} \| .+ \|$", text, re.MULTILINE), name
    for script in re.findall(r"`(?:python )?(tests/[\w/]+\.py)", text):
        assert (ROOT / script).exists(), script
    assert f"[{path.name}]({path.name})" in (PEERS / "README.md").read_text()
    assert max(map(len, text.splitlines())) <= 120


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
            assert path in named, f"{path} is not in the map of localmix/help/inside.md"


def test_places_to_add_things_exist() -> None:
    for name, file in re.findall(r"`([A-Z_]\w+)` in\s+`([\w/]+\.py)`", MAP):
        assert re.search(rf"^(class )?{name}\b", (ROOT / file).read_text(), re.MULTILINE), (name, file)
