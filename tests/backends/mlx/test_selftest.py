"""The self-test passes here in both modes, and fails where something is wrong."""

import itertools
import pathlib

import numpy as np
import pytest
import quantized_models

from localmix import gguf
from localmix.network import load
from quant import FORMATS

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from modelled import ModelKernels  # noqa: E402

from localmix.backends.mlx import attention, backend, calls, layouts, matrix, probe, selftest, slots  # noqa: E402
from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.metal import choice, trial  # noqa: E402
from localmix.backends.mlx.metal.lanes import TABLE  # noqa: E402
from localmix.backends.mlx.selftest import matrices, networks, operations  # noqa: E402


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> list[selftest.Named]:
    """A small network of experts."""
    blocks = trial.random_blocks("q8_0", quantized_models.SIZE, quantized_models.SIZE)
    path = quantized_models.to_gguf(FORMATS["q8_0"], blocks, tmp_path_factory.mktemp("small") / "m.gguf")
    return [("small", load(gguf.open(path)))]


@pytest.mark.parametrize("half", [False, True], ids=["32-bit", "16-bit"])
def test_all_pass(half: bool, named: list[selftest.Named]) -> None:
    found = list(selftest.checks(named, [half]))
    assert [check for check in found if check.passed is False] == []
    skipped = 0 if mx.metal.is_available() else len(TABLE)
    assert [check.passed for check in found].count(None) == skipped
    assert len(found) > 200
    parts = ("operation by operation", "prompt", "decoding", "streamed, prompt", "streamed, decoding")
    assert [check.name for check in found[-5:]] == [f"{16 if half else 32}-bit small, {part}" for part in parts]


def test_experts_that_are_not_what_the_file_has_fail(
    monkeypatch: pytest.MonkeyPatch, named: list[selftest.Named]
) -> None:
    """Rows that nobody puts into a slot."""
    monkeypatch.setattr(slots, "put", lambda *_: None)
    *resident, prompt, decoding = networks.checks(named, half=False)
    assert all(check.passed for check in resident)
    assert prompt.passed is decoding.passed is False


def test_a_wrong_product_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    right = matrix.Affine.multiply
    monkeypatch.setattr(matrix.Affine, "multiply", lambda self, x: right(self, x) + 0.01)
    found = itertools.takewhile(lambda check: not check.name.startswith("q6_k"), matrices.checks(half=False))
    passed = {check.name: check.passed for check in found}
    assert passed["f32 256×512 · 1"]
    assert passed["q8_0 256×512 rows"]
    assert passed["q8_0 256×512 · 1"] is passed["q8_0 40×96 · 40"] is False


def test_the_fault_of_gpus_is_found_and_named(monkeypatch: pytest.MonkeyPatch, named: list[selftest.Named]) -> None:
    """Biases of 16 bits read as if they had the 32 of the scales: garbage in every embedding."""

    def misread(packed: calls.Packed) -> mx.array:
        p = packed.scaled_in(mx.float32)
        bytes = np.array(packed.biases.astype(mx.float16)).tobytes()
        biases = mx.array(np.frombuffer(2 * bytes, np.float32)[: p.biases.size]).reshape(p.biases.shape)
        return mx.dequantize(p.codes, p.scales, biases, 32, p.bits)

    monkeypatch.setattr(matrix.calls, "unpack", misread)
    first = next(check for check in matrices.checks(half=True) if not check.passed)
    assert first.name == "q8_0 256×512 rows"
    steps, prompt, *_ = networks.checks(named, half=True)
    assert steps.passed is prompt.passed is False
    assert steps.detail.startswith("the first that differs: embed after 0 attentions, error ")


def test_an_operation_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch, named: list[selftest.Named]) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("no kernel\n for this")

    monkeypatch.setattr(attention, "attend", refuse)
    steps, prompt, _ = networks.checks(named, half=False)
    assert steps.detail == "the first that differs: attend after 0 attentions: no kernel for this, error nan"
    assert (prompt.passed, prompt.detail) == (False, "no kernel for this")


@pytest.fixture(autouse=True)
def _short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_STACK", 4)
    monkeypatch.setattr(trial, "_TIMES", 1)
    monkeypatch.setattr(trial, "_ROUNDS", 2)


@pytest.mark.parametrize("name", TABLE)
def test_a_trial_of_right_kernels(name: str) -> None:
    assert trial.attempt(name, ModelKernels(name), size=256).passed


def test_a_trial_of_wrong_kernels() -> None:
    unpacks, multiplies = ModelKernels("q4_k"), ModelKernels("q4_k")
    unpacks.expand = lambda blocks, dtype: mx.full((*blocks.shape[:-1], 768), mx.nan)  # type: ignore[method-assign]
    right = multiplies.product

    def wrong(blocks: mx.array, x: mx.array, rows: mx.array, matrices: mx.array) -> mx.array:
        return right(blocks, x, rows, matrices) + (rows.size > 8)  # as if only constant arrays were read right

    multiplies.product = wrong  # type: ignore[method-assign]
    for kernels in (unpacks, multiplies):
        assert not trial.attempt("q4_k", kernels, size=256).passed


def test_no_kernels_of_our_own_on_a_cpu() -> None:
    if mx.default_device() == mx.cpu:
        assert choice.kernels() == {}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> list[str]:
    """The formats tried on a GPU where q4_k's kernels are wrong, q5_k's refused, q2_k's slow, all others fast."""
    tried = []

    def attempt(name: str, kernels: object) -> trial.Trial:
        tried.append(name)
        if name == "q5_k":
            raise RuntimeError("Metal says\n no")
        return trial.Trial(0.5 if name == "q4_k" else 1e-4, 1e-5, 2e-5 if name != "q2_k" else 1e-6)

    monkeypatch.setenv("LOCALMIX_CACHE_DIR", str(tmp_path / "new"))
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(trial, "attempt", attempt)
    return tried


def test_the_choice_is_measured_once_and_said(tried: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert list(choice.kernels()) == list(choice.kernels()) == ["q6_k", "q3_k"]
    assert tried == list(TABLE)
    assert capsys.readouterr().err.splitlines() == [
        "localmix: trying Metal kernels on this GPU, once",
        "localmix: Metal kernels of q4_k are not used: wrong: error 5.0e-01, 10 µs, MLX's own 20 µs",
        "localmix: Metal kernels of q5_k are not used: Metal says no",
    ]
    assert choice.verdicts()["q2_k"].why == "slower, not used: error 1.0e-04, 10 µs, MLX's own 1 µs"
    metal = [selftest._metal(name) for name in TABLE]
    assert [check.passed for check in metal] == [False, False, True, True, True]


def test_kernels_that_end_the_process_are_not_tried_again(
    tried: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Abort(BaseException):
        pass

    def attempt(name: str, kernels: object) -> trial.Trial:
        raise Abort

    with monkeypatch.context() as ending:
        ending.setattr(trial, "attempt", attempt)
        with pytest.raises(Abort):
            choice.kernels()
    assert list(choice.kernels()) == ["q6_k", "q3_k"]
    assert "q4_k" not in tried
    assert choice.verdicts()["q4_k"].why == "the program ended while they were being tried"
    assert selftest._metal("q6_k").passed
    assert choice.judge("q4_k").why.startswith("wrong")  # as the self-test does


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"q4_k": {"used": 1}}}'])
def test_what_was_measured_cannot_be_read_or_written(tried: list[str], tmp_path: pathlib.Path, content: str) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "metal.json").write_text(content)
    assert list(choice.kernels()) == ["q6_k", "q3_k"]
    (folder / "metal.json").unlink()
    folder.rmdir()
    folder.write_text("a file in the folder's place")
    assert list(choice.kernels()) == ["q6_k", "q3_k"]
    assert len(tried) == 2 * len(TABLE)


def test_read_rate() -> None:
    assert 1e6 < probe.read_rate(1 << 20) < 1e15
    assert 1e5 < MlxBackend(half=True).repack_rate("q4_k") < 1e12
    assert (MlxBackend().read_rate() is None) == (mx.default_device() == mx.cpu)


def test_the_path_of_a_gpu(monkeypatch: pytest.MonkeyPatch, named: list[selftest.Named]) -> None:
    """All that a GPU is asked for, by MLX's CPU kernels: 16 bits from end to end, and pairs in tiles."""
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(backend, "layouts", lambda: layouts.Layouts(True, True))
    monkeypatch.setattr(mx, "compile", lambda function, shapeless: function)  # on a CPU it would want a compiler
    monkeypatch.setattr(networks, "_PROMPT", 12)
    found = list(networks.checks(named, half=True))
    assert [check for check in found if not check.passed] == []
    some = {name: FORMATS[name] for name in ("q4_0", "q8_0", "mxfp4")}
    for name, value in (("FORMATS", some), ("_OUT", 32), ("_WIDTH", 64)):  # 16 bits are slow on a CPU
        monkeypatch.setattr(matrices, name, value)
    monkeypatch.setattr(operations, "_WIDTH", 64)
    found = [*matrices.checks(half=True), *operations.checks(half=True)]
    assert [check for check in found if not check.passed] == []
    assert all(check.detail.endswith("from the CPU device") for check in found)
