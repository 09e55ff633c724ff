"""`localmix perplexity`: numbers on stdout, for people and for programs."""

import json
from pathlib import Path

import pytest
import small_models
from command_line import localmix

from localmix import load
from localmix.measure import perplexity, windows

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 8


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


def test_the_estimate(text: Path) -> None:
    model = load(small_models.STORIES)
    expected = perplexity.measure(model, windows.cut(model.tokenizer, TEXT, 64))
    done = localmix("perplexity", small_models.STORIES, text, "-c", 64)
    assert done.returncode == 0, done.stderr
    figures = f"{expected.perplexity:.4f} ± {expected.error:.4f}, {expected.tokens} tokens scored"
    assert done.stdout == f"perplexity         {figures}\n"


def test_comparison_as_json(text: Path, upcycled_path: Path) -> None:
    arguments = ("perplexity", upcycled_path, text, "--compare", small_models.STORIES, "-c", 32, "--chunks", 3)
    done = localmix(*arguments, "--json", "--backend", "reference")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["context"], found["windows"] == (32, 3)
    assert found["tokens"] == 3 * 15
    assert found["perplexity"] == pytest.approx(found["base_perplexity"], rel=1e-3)  # the same function
    assert 0 <= found["kl_median"] <= found["kl_99"] <= found["kl_max"] < 1e-3
    assert found["top1_agreement"] > 0.9
    assert found["router_agreement"] == []  # one of them has none
    people = localmix(*arguments)
    assert f"same top choice    {found['top1_agreement']:.2%}" in people.stdout


def test_what_a_kind_of_keys_and_values_costs(text: Path) -> None:
    """More with fewer bits, beside the same model with f16."""
    costs = []
    for kv in ("f32", "q8_0", "q4_0"):
        done = localmix("perplexity", "stories-moe", text, "-c", 64, "--chunks", 1, "--kv", kv, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["kv"] == kv
        costs.append(found["kl_mean"])
    assert costs[0] < 1e-4 < 10 * costs[1] < costs[2] < 0.2
    people = localmix("perplexity", "stories-moe", text, "-c", 64, "--chunks", 1, "--kv", "q8_0").stdout
    assert "\nwith --kv f16      " in people
    assert "\nKL divergence      mean 0.0" in people


def test_what_is_wrong_is_one_line(text: Path, tmp_path: Path) -> None:
    missing = localmix("perplexity", small_models.STORIES, tmp_path / "none.txt")
    assert missing.returncode == 1
    assert "none.txt: cannot be read" in missing.stderr
    short = localmix("perplexity", small_models.STORIES, text, "-c", 512)
    assert short.returncode == 1
    assert short.stderr.count("\n") == 1
    assert "expected at least the 512 of one window" in short.stderr
