"""`localmix quality`: one table of several files, for people and programs, and a report."""

import json
from pathlib import Path

import small_models
from command_line import localmix

STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 6


def test_all_of_it(upcycled_path: Path, tmp_path: Path) -> None:
    text, html = tmp_path / "story.txt", tmp_path / "quality.html"
    text.write_text(STORY)
    how = ("--text", text, "-c", 64, "--backend", "reference", "--no-speed")
    done = localmix("quality", upcycled_path, small_models.STORIES, *how, "--html", html, "--json")
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)["models"]
    assert small["bytes"] < large["bytes"]
    assert [small["base"], large["base"]].count(True) == 1
    other = large if small["base"] else small
    assert other["kl_mean"] < 1e-3  # the same function
    assert other["router_agreement"] is None  # one of them has none
    assert "How far from the best" in html.read_text()
    shown = localmix("quality", upcycled_path, small_models.STORIES, *how, "--base", small_models.STORIES)
    assert shown.returncode == 0, shown.stderr
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert [row[1] for row in rows] == ["stories260K.F32", "upcycled"]
    assert rows[0][6] == ""
    assert 0 <= float(rows[1][6]) < 1e-3


def test_what_is_wrong_is_one_line(upcycled_path: Path, tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text(STORY)
    how = ("--text", tmp_path / "story.txt", "--backend", "reference", "-c", 64)
    for files, problem in (
        ((upcycled_path, upcycled_path), "only one file: expected two or more"),
        ((upcycled_path, "stories-moe"), "has another vocabulary"),
    ):
        done = localmix("quality", *files, *how)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert problem in done.stderr
