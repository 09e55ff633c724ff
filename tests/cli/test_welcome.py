"""What a terminal shows where people begin: without a command, and what doctor and a chat say first."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Terminal, localmix
from small_models import STORIES

from localmix.cli.findings import report
from localmix.cli.paths import shortened, squeezed

MACHINE = {
    "localmix": "0.1.0, Python 3.12.1, Darwin arm64",
    "processor": "Apple M3 Max",
    "numba": "neon, 12 threads",
    "mlx": "Apple M3 Max, 16-bit",
    "default": "mlx",
    "memory_bytes": 64 << 30,
    "free_memory_bytes": 40 << 30,
    "memory_speed_bytes_per_second": 3e11,
    "disk_speed_bytes_per_second": 5e9,
}
MODEL = {
    "model": "/somewhere/that/is/far/away/and/has/a/long/way/to/it/mixtral-8x7b.Q4_K_M.gguf",
    "size_bytes": 26_400_000_000,
    "token_reads_bytes": 7_300_000_000,
    "fits": "resident",
    "how": "whole in memory",
    "expected_tokens_per_second": 31.4159,
    "command": "localmix chat mixtral",
}


def test_without_a_command_a_terminal_is_told_what_is_here(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    place = {"LOCALMIX_MODELS": str(tmp_path / "models")}
    screen = terminal(**place)
    assert screen.end() == 0, screen.seen
    lines = screen.seen.replace("\r", "").splitlines()
    assert lines[0].startswith("localmix 0.")
    assert any(re.fullmatch(r"Backend here: \w+(, .*threads)?", line) for line in lines)
    assert "Models here: stories-moe, which ships with it and tells stories" in lines
    assert any(line.startswith("  localmix chat stories-moe  ") for line in lines)
    assert max(map(len, lines)) <= 80
    for number in range(6):
        file = tmp_path / "models" / "some" / f"thing{number}" / "x.Q8_0.gguf"
        file.parent.mkdir(parents=True)
        file.symlink_to(STORIES)
    screen = terminal(**place)
    assert screen.end() == 0
    assert "some/thing0:Q8_0 (" in screen.seen
    assert "and 2 more: localmix list" in screen.seen
    assert "localmix chat some/thing0:Q8_0" in screen.seen


def test_without_a_command_and_a_terminal_it_is_an_error_with_help() -> None:
    done = localmix()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")


@pytest.mark.parametrize("columns", [40, 80])
def test_doctor_speaks_in_sentences_with_units(columns: int) -> None:
    lines = list(report({"machine": MACHINE, "model": MODEL}, columns))
    assert max(map(len, lines)) <= columns
    text = " ".join(lines)
    assert "Memory is read at 300 GB/s, the disk at 5 GB/s." in text
    assert "Models run on the mlx backend." in text
    assert "mixtral-8x7b.Q4_K_M.gguf: 26.4 GB, of which each token reads 7.3 GB." in text
    assert "It fits in memory as a whole. Expect about 31.4 tokens per second." in text
    assert lines[-1] == "Run it with: localmix chat mixtral"


def test_doctor_says_why_a_model_does_not_fit() -> None:
    model: dict[str, Any] = MODEL | {"fits": "no", "how": "no: it needs 26 GB there, 10 GB free", "gpu": "none"}
    del model["expected_tokens_per_second"]
    lines = list(report({"machine": MACHINE, "model": model}, 200))
    assert "It does not fit: it needs 26 GB there, 10 GB free." in " ".join(lines)
    assert lines[-3:] == ["gpu: none", "", "Choose a smaller format or model."]


@pytest.mark.parametrize(
    ("path", "columns", "short"),
    [
        ("/a/b/c.gguf", 20, "/a/b/c.gguf"),
        ("/home/me/models/c.gguf", 40, "~/models/c.gguf"),
        ("/home/me/zero/one/two/three/four.gguf", 29, "~/.../one/two/three/four.gguf"),
        ("/home/me/one/two/three/four.gguf", 24, "~/.../three/four.gguf"),
        ("/home/me/one/two/three/four.gguf", 15, "~/.../four.gguf"),
        ("/home/me/one/two/three/four.gguf", 8, "fo...guf"),
        ("/far/away/from/here/x.gguf", 22, "/.../from/here/x.gguf"),
        ("/home/message", 40, "/home/message"),
        ("long-name-without-folder.gguf", 12, "long....gguf"),
    ],
)
def test_paths(path: str, columns: int, short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert shortened(path, columns) == short
    assert len(short) <= columns


def test_squeezed() -> None:
    assert [squeezed("abcdefghij", n) for n in (10, 9, 4, 3, 1)] == ["abcdefghij", "abc...hij", "...j", "...", "."]
