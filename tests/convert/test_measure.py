"""What is measured on a finished file: figures in its receipt, or a file that can be finished later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoint_folders
import numpy as np
import pytest
import small_models
from random_checkpoints import SPECS

import localmix
from localmix import convert, gguf
from localmix.convert import measure
from localmix.convert.receipt import FIGURES, read_receipt
from localmix.errors import LocalmixError
from localmix.measure import perplexity
from quant.recipe import RECIPES

TEXT = "ab aab abab ba " * 40


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "held out.txt"
    path.write_text(TEXT)
    return path


def plan_of(source: Path, recipe: str = "Q8_0") -> convert.Plan:
    checkpoint = convert.open_checkpoint(source, True)
    return convert.make_plan(checkpoint, RECIPES[recipe], extra=convert.receipt(checkpoint, recipe, None, True))


def measured(plan: convert.Plan, text: Path, out: Path, resume: bool = False) -> None:
    measurement = convert.Measurement.make(plan, text, threads=1)
    convert.write(
        plan, out, 1, resume=resume, finish=lambda place: void(measurement.fill_in(place, out, lambda count: None))
    )


def void(found: perplexity.Comparison) -> None:
    assert found.score.tokens


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def receipt(out: Path) -> dict[str, Any]:
    return read_receipt(gguf.open(out).metadata)


def test_a_folder_is_the_source(tmp_path: Path, text: Path) -> None:
    """As a comparison of the finished file with the source's own F16 finds; nothing else is left."""
    source, out = checkpoint_folders.hugging_face(tmp_path / "model", SPECS[0], "F16"), tmp_path / "out.gguf"
    plan = plan_of(source)
    measured(plan, text, out)
    assert names(tmp_path) == ["held out.txt", "out.gguf"]
    convert.write(plan_of(source, "F16"), tmp_path / "f16.gguf", 1)
    windows = convert.Measurement.make(plan, text).windows
    model, base = (localmix.load(tmp_path / name, "numba", 1) for name in ("out.gguf", "f16.gguf"))
    expected = measure.figures(perplexity.compare(model, base, windows), plan.checkpoint)
    found = receipt(out)
    assert found["measured.text"] == f"held out.txt, {len(windows)} windows of {len(windows[0])} tokens"
    for key in FIGURES:
        assert found["measured." + key] == np.float32(expected[key]), key
    assert 0 < found["measured.kl_mean"] < 0.1
    assert 0 < found["measured.router_agreement"] <= 1


def test_a_file_is_the_source_and_dense_models_have_no_router(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Once upon a time there was a little girl. " * 50)
    out = tmp_path / "out.gguf"
    measured(plan_of(small_models.STORIES, "F16"), tmp_path / "text", out)
    found = receipt(out)
    assert found["measured.perplexity"] == pytest.approx(found["measured.source_perplexity"], rel=1e-2)
    assert "measured.router_agreement" not in found


def crash(*_: object) -> None:
    raise RuntimeError("crash")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["write", "compare", "receipt.fill_in"])
@pytest.mark.parametrize("failure", [crash, interrupt])
def test_whatever_happens_no_unfinished_receipt_bears_the_name(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: Callable[..., None]
) -> None:
    """And the weights are not written again."""
    source, out = checkpoint_folders.hugging_face(tmp_path / "model", SPECS[0]), tmp_path / "out.gguf"
    with monkeypatch.context() as patch:
        patch.setattr(f"localmix.convert.measure.{step}", failure)
        with pytest.raises((RuntimeError, KeyboardInterrupt)):
            measured(plan_of(source), text, out)
    assert names(tmp_path) == ["held out.txt", "out.gguf.partial", "out.gguf.partial.log"]
    with monkeypatch.context() as patch:
        patch.setattr("localmix.convert.stream.quantize", forbidden("q8_0"))
        measured(plan_of(source), text, out, resume=True)
    assert names(tmp_path) == ["held out.txt", "out.gguf"]
    resumed = out.read_bytes()
    measured(plan_of(source), text, out)
    assert out.read_bytes() == resumed


def forbidden(format: str) -> Callable[..., Any]:
    """The quantizer, but for the format that is there already."""
    quantize = convert.stream.quantize

    def checked(output: Any, start: int, stop: int) -> Any:
        assert output.info.format.name != format
        return quantize(output, start, stop)

    return checked


def test_what_cannot_be_measured_is_said_first(tmp_path: Path) -> None:
    plan = plan_of(checkpoint_folders.hugging_face(tmp_path / "model", SPECS[0]))
    (tmp_path / "short").write_text("a")
    with pytest.raises(LocalmixError, match=r"expected at least the \d+ of one window"):
        convert.Measurement.make(plan, tmp_path / "short")
    with pytest.raises(LocalmixError, match="none: cannot be read"):
        convert.Measurement.make(plan, tmp_path / "none")
