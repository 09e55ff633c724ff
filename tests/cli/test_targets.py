"""`localmix quantize --target-ram` and `--target-bpw`: what is said, what is asked, what is refused."""

import sys
from pathlib import Path

import checkpoint_folders
import pytest
from random_checkpoints import SPECS
from typer.testing import CliRunner, Result

from localmix import gguf
from localmix.cli import targets
from localmix.cli.app import program
from localmix.errors import LocalmixError
from localmix.measure import inventory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint_folders.hugging_face(tmp_path / "tiny", SPECS[0])


@pytest.fixture(autouse=True)
def bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.measure.bandwidth.measure", lambda path, threads: 20e9)


def quantize(*arguments: object) -> Result:
    result = CliRunner().invoke(program(), ["quantize", *map(str, arguments)])
    if isinstance(result.exception, LocalmixError):
        raise result.exception
    return result


def test_says_what_it_chose_and_writes_it(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    result = quantize(source, out, "--target-bpw", 9, "-y")
    assert result.exit_code == 0
    for part in (
        "bits per weight",
        "memory: ",
        "of cache for 256 tokens",
        "an estimated divergence of",
        "t/s decoded here",
    ):
        assert part in result.stderr
    file = gguf.open(out)
    assert inventory.take(file).bits <= 9
    assert file.metadata["localmix.receipt.recipe"] == "--target-bpw 9"


def test_nothing_is_written_without_a_yes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.gguf"
    with pytest.raises(LocalmixError, match="no terminal to ask for confirmation: pass -y"):
        quantize(source, out, "--target-ram", "1G")
    for answer in (False, True):
        monkeypatch.setattr(sys.modules["localmix.cli.quantize"], "confirmed", lambda answer=answer: answer)
        assert quantize(source, out, "--target-ram", "1G").exit_code == 0
        assert out.exists() == answer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-ram", "1M"], r"--target-ram 1M --ctx 256: 1 MB of memory is too little: .* in all"),
        (["--target-bpw", "2"], r"--target-bpw 2: the weights may take .*, but need at least"),
        (["--target-ram", "much"], "--target-ram much: expected a size such as 24G or 15.5GiB"),
        (["--target-ram", "1G", "--target-bpw", "4"], "--target-ram with --target-bpw: both choose the formats"),
        (["--format", "Q8_0", "--target-bpw", "4"], "--format with --target-bpw"),
    ],
)
def test_refused(source: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(LocalmixError, match=message):
        quantize(source, tmp_path / "out.gguf", "-y", *arguments)
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("24G", 24 * 10**9), ("24gb", 24 * 10**9), ("15.5GiB", 15.5 * 2**30), ("512M", 512 * 10**6), ("1000", 1000)],
)
def test_sizes(text: str, expected: float) -> None:
    assert targets.size("--target-ram", text) == expected
