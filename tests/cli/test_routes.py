"""`localmix routes`: counts on stdout for people and for programs, every token's experts in a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import small_models
from command_line import Terminal, localmix

from localmix import load
from localmix.measure import inventory

GIRL = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 4
SUMS = "1 + 1 = 2, 2 + 2 = 4, 4 + 4 = 8. " * 10


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "girl.txt").write_text(GIRL)
    (folder / "sums.txt").write_text(SUMS)
    return [folder / "girl.txt", folder / "sums.txt"]


def test_numbers_for_programs(texts: list[Path], upcycled_path: Path, tmp_path: Path) -> None:
    model, file = load(upcycled_path, "reference"), tmp_path / "trace.npz"
    expert = inventory.expert_bytes(model.file)
    assert expert == 3 * 64 * 172 * 4
    html = tmp_path / "report.html"
    arguments = (
        "--trace",
        file,
        "--html",
        html,
        "--simulate-cache",
        f"{4 * expert},1G",
        "-c",
        40,
        "--backend",
        "reference",
    )
    done = localmix("routes", upcycled_path, *texts, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lengths = [len(model.tokenizer.encode(text, bos=False)) for text in (GIRL, SUMS)]
    assert [(text["name"], text["tokens"]) for text in found["texts"]] == [("girl", lengths[0]), ("sums", lengths[1])]
    trace = np.load(file)
    assert trace["chosen"].shape == (sum(lengths), len(model.network.layers), 2)
    for n, text in enumerate(found["texts"]):
        rows = trace["chosen"][trace["text"] == n]
        assert text["counts"] == [np.bincount(rows[:, i].ravel(), minlength=8).tolist() for i in range(5)]
        assert (np.sum(text["counts"], axis=1) == 2 * lengths[n]).all()
        assert text["pairs"] == lengths[n] - -(-lengths[n] // 39)  # 39 and a BOS are a window
    assert [pool["slots"] for pool in found["pools"]] == [4, 8 * 5]
    assert found["pools"][1]["hits"]["LRU"] > 0.9 > found["pools"][0]["hits"]["best possible"]
    assert html.read_text().count("Once") == 4
    assert localmix("routes", upcycled_path, *texts, "--trace", file).stderr.count("already exists") == 1


def test_a_window_as_long_as_the_context(texts: list[Path], upcycled_path: Path) -> None:
    done = localmix("routes", upcycled_path, texts[0], "-c", 0, "--backend", "reference", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["context"] == load(upcycled_path, "reference").network.context


def test_tables(texts: list[Path], upcycled_path: Path) -> None:
    """In a pipe a line a row; on a terminal no number is cut short, however narrow it is."""
    piped = localmix("routes", upcycled_path, *texts, "--backend", "reference")
    assert piped.returncode == 0, piped.stderr
    rows = [line.split("\t") for line in piped.stdout.splitlines()]
    shares = [row[3:] for row in rows if row[0] == "share of choices in %"]
    assert len(shares) == 3 * 2
    for row in shares:
        assert sum(map(float, row)) == pytest.approx(100, abs=0.5)
    assert [row[1:3] for row in rows if row[0].startswith("tokens that keep")][2] == ["chance", ""]
    shown = Terminal("routes", upcycled_path, *texts, "--backend", "reference", size=(40, 24))
    assert shown.end() == 0, shown.seen
    assert all(f" {row[-1]}" in shown.seen for row in shares)
    shown.close()


def test_parquet(texts: list[Path], upcycled_path: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "trace.parquet"
    done = localmix("routes", upcycled_path, *texts, "--trace", file, "-q", "--backend", "reference")
    assert (done.returncode, done.stderr) == (0, "")
    table = parquet.read_table(file).to_pydict()
    assert "".join(table["token"]).count("Lily") == 4
    assert set(table["layer_4_choice_2"]) <= set(range(8))
    assert set(table["text"]) == {"girl", "sums"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--trace", "x.csv"), "x.csv: expected a name that ends with .npz or .parquet"),
        (("--trace", "/nowhere/x.npz"), "/nowhere is not a folder"),
        (("--simulate-cache", "4G,much"), "--simulate-cache much: expected a size such as 24G"),
    ],
)
def test_what_is_wrong_is_one_line(texts: list[Path], arguments: tuple[str, ...], problem: str) -> None:
    done = localmix("routes", "stories-moe", *texts, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert problem in done.stderr


def test_dense_models_and_empty_texts_are_refused(texts: list[Path], upcycled_path: Path, tmp_path: Path) -> None:
    assert "dense" in localmix("routes", small_models.STORIES, *texts, "--backend", "reference").stderr
    (tmp_path / "empty.txt").write_text("")
    done = localmix("routes", upcycled_path, texts[0], tmp_path / "empty.txt", "--backend", "reference")
    assert done.returncode == 1
    assert "empty.txt: the text is empty" in done.stderr
