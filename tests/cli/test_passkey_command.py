"""`localmix passkey`: a heat map in numbers, for people and programs, and a report."""

import json
from pathlib import Path

import pytest
from command_line import localmix

STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 30


def test_all_of_it(upcycled_path: Path, tmp_path: Path) -> None:
    text, html = tmp_path / "story.txt", tmp_path / "context.html"
    text.write_text(STORY)
    how = ("--lengths", "300,0.5k", "--backend", "reference")
    assert "--lengths 300,0.5k: expected numbers" in localmix("passkey", upcycled_path, *how).stderr
    how = ("--lengths", "300,340", "--depths", 2, "--keys", 1, "--backend", "reference", "--text", text)
    done = localmix("passkey", upcycled_path, *how, "--html", html, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["lengths"], found["depths"], found["keys"]) == ([300, 340], [0, 1], 1)
    assert all(share in (0, 1) for row in found["found"] for share in row)
    assert found["reach"][0]["tokens"] % 15 == 0
    assert "Keys found" in html.read_text()
    shown = localmix("passkey", upcycled_path, *how)
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert [row[1] for row in rows if row[0].startswith("keys found")] == ["0%", "100%"]
    assert any(row[0].startswith("perplexity") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--lengths", "9k"), "9216 tokens: expected at most 512, the model's context"),
        (("--lengths", "20"), "a length of 20 tokens: expected"),
        (("--html", "/nowhere/x.html"), "/nowhere is not a folder"),
    ],
)
def test_what_is_wrong_is_one_line(upcycled_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    done = localmix("passkey", upcycled_path, *arguments, "--backend", "reference")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert problem in done.stderr
