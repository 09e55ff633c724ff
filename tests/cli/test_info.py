"""`localmix info`: three forms of the same facts, safe to print whatever the file says."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from localmix import gguf
from localmix.amounts import amount
from localmix.cli.app import program
from localmix.cli.info import cell
from quant import FORMATS

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "a\x1b[31m red\nname",
    "llama.block_count": 2,
    "llama.context_length": 128,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.expert_count": 4,
    "llama.expert_used_count": 1,
    "llama.rope.freq_base": float("nan"),
    "tokenizer.ggml.tokens": ["<s>", "[red]", "\udce2\udc96", "\x07", *map(str, range(96))],
    "tokenizer.ggml.scores": np.linspace(0, 1, 100, dtype=np.float32),
}
SHAPES = {
    "token_embd.weight": (100, 64),
    **{f"blk.{layer}.ffn_{part}_exps.weight": (4, 64, 64) for layer in (0, 1) for part in ("gate", "up", "down")},
    "output.weight": (100, 64),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    infos = [gguf.TensorInfo(name, shape, FORMATS["q8_0"]) for name, shape in SHAPES.items()]
    with gguf.Writer(path, METADATA, infos) as out:
        for info in infos:
            out.write(info.name, np.zeros(info.block_shape, info.format.dtype))
    return path


def info(*arguments: object) -> Result:
    result = CliRunner().invoke(program(), ["info", *map(str, arguments)])
    assert result.exception is None, result.exception
    return result


def test_lines_in_a_pipe(model: Path) -> None:
    lines = info(model).stdout.splitlines()
    fields = [line.split("\t") for line in lines]
    assert ["metadata", "llama.block_count", "uint32", "2"] in fields
    assert next(f for f in fields if "scores" in f[1])[:3] == ["metadata", "tokenizer.ggml.scores", "float32[100]"]
    assert ["tensors", "blk.N.ffn_gate_exps.weight", "4 × 64 × 64", "q8_0", "2", "34.8 kB"] in fields
    assert ["sizes", "experts", "q8_0", "6", "98.3 k", "104 kB", "8.50", "26.1 kB"] in fields
    assert ["model", "experts", "4, 1 of them used per token"] in fields
    assert ["model", "cache", "512 B per token in 16 bits"] in fields
    assert all(line.replace("\t", "").isprintable() for line in lines)


def test_the_model_may_be_an_option_but_not_twice(model: Path) -> None:
    assert info("-m", model).stdout == info(model).stdout
    assert "two models" in str(CliRunner().invoke(program(), ["info", str(model), "-m", str(model)]).exception)


def test_json(model: Path) -> None:
    found = json.loads(info(model, "--json").stdout, parse_constant=pytest.fail)
    assert found["metadata"]["general.name"] == METADATA["general.name"]
    assert found["metadata"]["llama.rope.freq_base"] == "nan"
    tokens = found["metadata"]["tokenizer.ggml.tokens"]
    assert tokens["length"] == 100
    assert tokens["first"][:3] == ["<s>", "[red]", "??"]
    assert [tensor["name"] for tensor in found["tensors"]] == list(SHAPES)
    assert found["bytes_read_per_token"] == 100 * 68 + 6 * 64 * 68 + 68
    assert found["bytes"] == model.stat().st_size
    assert sum(part["bytes"] for part in found["sizes"]) == sum(tensor["bytes"] for tensor in found["tensors"])


def test_tables_on_a_terminal(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rich draws them; neither its markup nor control characters are taken from the file."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    program()(["info", str(model)], standalone_mode=False)
    text = capsys.readouterr().out
    assert "[red]" in text
    assert "a␛[31m red name" in text
    assert not any(ord(character) < 32 for character in text.replace("\n", ""))
    assert "blk.N.ffn_gate_exps.weight" in text


def test_cells() -> None:
    assert cell("one\ntwo\t three") == "one two three"
    assert cell("x" * 200) == "x" * 99 + "…"
    assert cell("\x07\x9b") == "␇␡"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (26_300_000_000, "26.3 GB")],
)
def test_amounts(number: int, text: str) -> None:
    assert amount(number, "B") == text
