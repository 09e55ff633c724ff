"""`localmix quantize`: what it writes, what it says, and what it refuses before any work."""

from pathlib import Path

import checkpoint_folders
import pytest
from random_checkpoints import SPECS
from typer.testing import CliRunner, Result

from localmix import gguf
from localmix.cli import app
from localmix.errors import LocalmixError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint_folders.hugging_face(tmp_path / "tiny", SPECS[0])


def quantize(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["quantize", *map(str, arguments)])
    if isinstance(result.exception, LocalmixError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_writes_the_recipe_with_overrides_and_metadata(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    result = quantize(
        source, out, "-f", "q8_0", "--tensor-type", r"blk\.1\.=F16", "--meta", "general.license=mit", "-t", 1
    )
    file = gguf.open(out)
    formats = {name: tensor.format.name for name, tensor in file.tensors.items()}
    assert formats["blk.0.attn_q.weight"] == "q8_0"
    assert formats["blk.1.attn_q.weight"] == "f16"
    assert formats["blk.1.attn_norm.weight"] == "f32"
    assert file.metadata["general.license"] == "mit"
    assert file.metadata["general.name"] == "tiny"
    assert file.metadata["general.file_type"] == 7
    assert result.stdout == ""
    assert "bits a weight" in result.stderr


def test_dry_run_says_all_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    result = quantize(source, tmp_path / "out.gguf", "--format", "Q4_K_M", "--dry-run", "-q")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert "token_embd.weight: q5_0 instead of q4_k: rows of 32 do not divide into blocks of 256" in result.stderr
    assert "blk.0.ffn_down_exps.weight: f16 instead of" in result.stderr  # rows of 48


def test_an_existing_file_is_kept_without_force(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("precious")
    with pytest.raises(LocalmixError, match="exists already: choose another name, or overwrite it with --force"):
        quantize(source, out, "-f", "F16")
    assert out.read_text() == "precious"
    quantize(source, out, "-f", "F16", "--force", "-q")
    assert gguf.open(out).metadata["general.file_type"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "Q9"], "--format Q9: expected one of F32, F16"),
        (["--tensor-type", "attn"], "--tensor-type attn: expected PATTERN=FORMAT"),
        (["--tensor-type", "attn=mxfp4"], "--tensor-type attn=mxfp4: expected PATTERN=FORMAT, the format one of f32"),
        (["--tensor-type", "attn(=q8_0"], "is no regular expression"),
        (["--meta", "general.architecture=gpt"], "expected KEY=TEXT"),
        (["--meta", "license"], "expected KEY=TEXT"),
    ],
)
def test_wrong_options(source: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(LocalmixError, match=message):
        quantize(source, tmp_path / "out.gguf", *arguments)
