"""`localmix quantize`: what it writes, what it says, and what it refuses before any work."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoint_folders
import pytest
from command_line import Terminal
from random_checkpoints import SPECS
from typer.testing import CliRunner, Result

from localmix import __version__, convert, gguf
from localmix.cli.app import program
from localmix.convert.receipt import read_receipt
from localmix.errors import LocalmixError
from localmix.store.fingerprint import fingerprint
from quant.recipe import RECIPES


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint_folders.hugging_face(tmp_path / "tiny", SPECS[0])


def quantize(*arguments: object) -> Result:
    result = CliRunner().invoke(program(), ["quantize", *map(str, arguments)])
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
    assert "bits per weight" in result.stderr


def test_the_receipt_says_how_the_file_came_to_be(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    quantize(source, out, "-f", "q8_0", "--tensor-type", r"attn_v=f16", "-q")
    shown = json.loads(CliRunner().invoke(program(), ["info", str(out), "--json"]).stdout)["receipt"]
    assert set(shown) == {"version", "source", "source_hash", "recipe"}
    assert (shown["version"], shown["source"], shown["recipe"]) == (__version__, "tiny", "Q8_0 attn_v=f16")
    assert shown["source_hash"] == fingerprint([source / "model.safetensors"])
    lines = CliRunner().invoke(program(), ["info", str(out)]).stdout.splitlines()
    assert "receipt\tsource hash\t" + shown["source_hash"] in lines
    quantize(out, tmp_path / "again.gguf", "-f", "q4_0", "--allow-requantize", "-q")  # a receipt of its own
    assert read_receipt(gguf.open(tmp_path / "again.gguf").metadata) | {"source_hash": ""} == {
        "version": __version__, "source": "out.gguf", "source_hash": "", "recipe": "Q4_0"
    }  # fmt: skip


def test_dry_run_says_all_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    result = quantize(source, tmp_path / "out.gguf", "--format", "Q4_K_M", "--dry-run", "-q")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert "token_embd.weight: q5_0 instead of q4_k: rows of 32 do not divide into blocks of 256" in result.stderr
    assert "blk.0.ffn_down_exps.weight: f16 instead of" in result.stderr  # rows of 48


def test_an_existing_file_is_kept_without_force(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("precious")
    with pytest.raises(LocalmixError, match="already exists: choose another name, or overwrite it with --force"):
        quantize(source, out, "-f", "F16")
    assert out.read_text() == "precious"
    quantize(source, out, "-f", "F16", "--force", "-q")
    assert gguf.open(out).metadata["general.file_type"] == 1


def test_ctrl_c_and_resume(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*job: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out.gguf"
    with monkeypatch.context() as patch:
        patch.setattr("localmix.convert.stream.quantize", stop)
        result = CliRunner().invoke(program(), ["quantize", str(source), str(out), "-f", "F16"])
    assert result.exit_code == 130
    assert "localmix: stopped: the same command with --resume continues from here" in result.stderr
    assert not out.exists()
    with pytest.raises(LocalmixError, match=r"out\.gguf\.partial: left by an unfinished run: continue with --resume"):
        quantize(source, out, "-f", "F16")
    with pytest.raises(LocalmixError, match="start over with --force"):
        quantize(source, out, "-f", "Q8_0", "--resume")
    quantize(source, out, "-f", "F16", "--resume")
    assert gguf.open(out).metadata["general.file_type"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf", "tiny"]


def test_progress_on_a_terminal(source: Path, tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    shown = terminal("quantize", source, tmp_path / "out.gguf", "-f", "F16")
    assert shown.end() == 0
    for part in ("checking", "writing", "/s", "0:00:00"):
        assert part in shown.seen


def test_the_default_name_is_one_file_here(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    quantize(source, "-f", "q8_0", "--meta", "general.name=../a model/of: mine", "-q")
    assert [path.name for path in Path().iterdir()] == ["tiny.Q8_0.gguf"]
    quantize("tiny.Q8_0.gguf", "-f", "f16", "--allow-requantize", "-q")
    assert (Path() / "a-model-of-mine.F16.gguf").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "Q9"], "--format Q9: expected one of F32, F16"),
        (["--tensor-type", "attn"], "--tensor-type attn: expected PATTERN=FORMAT"),
        (["--tensor-type", "attn=mxfp4"], "--tensor-type attn=mxfp4: expected PATTERN=FORMAT with a format of f32"),
        (["--tensor-type", "attn(=q8_0"], "is not a regular expression"),
        (["--tensor-type", "atn_v=q8_0"], "--tensor-type atn_v=q8_0: no matrix has such a name; one is output.weight"),
        (["--tensor-type", "attn_norm=q8_0"], "no matrix has such a name"),
        (["--meta", "general.architecture=gpt"], "expected KEY=TEXT"),
        (["--meta", "license"], "expected KEY=TEXT"),
    ],
)
def test_wrong_options(source: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(LocalmixError, match=message):
        quantize(source, tmp_path / "out.gguf", *arguments)


def test_imatrix_and_measure_end_in_the_receipt(source: Path, tmp_path: Path) -> None:
    text, f16, out = tmp_path / "text", tmp_path / "f16.gguf", tmp_path / "out.gguf"
    text.write_text("ab aab abab ba " * 40)
    quantize(source, f16, "-f", "F16", "-q")
    calibrate = ["calibrate", str(f16), str(text), "-o", str(tmp_path / "x.imatrix.gguf"), "-c", "64"]
    assert CliRunner().invoke(program(), calibrate).exit_code == 0
    options = [source, out, "-f", "Q4_0", "--imatrix", tmp_path / "x.imatrix.gguf", "--measure", text]
    shown = quantize(*options, "--dry-run").stderr
    assert "note: importance: none for token_embd.weight, quantized without" in shown
    assert not out.exists()
    assert "KL divergence      mean 0." in quantize(*options).stderr
    lines = CliRunner().invoke(program(), ["info", str(out)]).stdout.splitlines()
    found = dict(line.split("\t")[1:] for line in lines if line.startswith("receipt"))
    assert found["calibration.text"] == "text"
    assert 0 < float(found["measured.kl mean"]) < 1
    assert 0 < float(found["measured.router agreement"]) <= 1
    assert (
        json.loads(CliRunner().invoke(program(), ["info", str(out), "--json"]).stdout)["receipt"]["measured.perplexity"]
        > 1
    )
    with pytest.raises(LocalmixError, match=r"out\.gguf: not an importance matrix"):
        quantize(source, tmp_path / "other.gguf", "--imatrix", out)


def test_the_disk_is_looked_at_before_any_weight(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the source must be written beside the output to be measured."""
    monkeypatch.setattr("localmix.convert.check", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(LocalmixError, match=r"nowhere is not a folder: expected a folder to write to"):
        quantize(source, tmp_path / "nowhere" / "out.gguf")
    (tmp_path / "text").write_text("ab aab abab ba " * 40)
    size = convert.make_plan(convert.open_checkpoint(source), RECIPES["Q8_0"]).nbytes
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=size + 10))
    with pytest.raises(LocalmixError, match=r"needs \d+ bytes, \d+ of them for the source as F16 while --measure"):
        quantize(source, tmp_path / "out.gguf", "-f", "Q8_0", "--measure", tmp_path / "text")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=size - 10))
    with pytest.raises(LocalmixError, match=r"out\.gguf: needs \d+ bytes, the disk has \d+ free"):
        quantize(source, tmp_path / "out.gguf", "-f", "Q8_0")
