"""The self-test passes here in both modes, and fails where something is wrong."""

import itertools
import pathlib

import pytest

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from modelled import ModelKernels  # noqa: E402

from localmix.backends.mlx import matrix, probe, selftest  # noqa: E402
from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.metal import choice, trial  # noqa: E402
from localmix.backends.mlx.metal.lanes import TABLE  # noqa: E402


@pytest.mark.parametrize("half", [False, True], ids=["32-bit", "16-bit"])
def test_all_pass(half: bool) -> None:
    found = list(selftest.checks(half))
    assert [check for check in found if check.passed is False] == []
    skipped = 0 if mx.metal.is_available() else len(TABLE)
    assert [check.passed for check in found].count(None) == skipped
    assert len(found) > 80


def test_a_wrong_product_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    right = matrix.Affine.multiply
    monkeypatch.setattr(matrix.Affine, "multiply", lambda self, x: right(self, x) + 0.01)
    found = itertools.takewhile(lambda check: not check.name.startswith("q6_k"), selftest.checks(half=False))
    passed = {check.name: check.passed for check in found}
    assert passed["f32 × 1"]
    assert passed["q8_0 × 1"] is passed["q8_0 × 40"] is False


@pytest.fixture(autouse=True)
def _short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_STACK", 4)
    monkeypatch.setattr(trial, "_TIMES", 1)


@pytest.mark.parametrize("name", TABLE)
def test_a_trial_of_right_kernels(name: str) -> None:
    assert trial.attempt(name, ModelKernels(name), size=256).passed


def test_a_trial_of_wrong_kernels() -> None:
    kernels = ModelKernels("q4_k")
    kernels.expand = lambda blocks, dtype: mx.full((*blocks.shape[:-1], 768), mx.nan)  # type: ignore[method-assign]
    assert not trial.attempt("q4_k", kernels, size=256).passed


def test_no_kernels_of_our_own_on_a_cpu() -> None:
    if mx.default_device() == mx.cpu:
        assert choice.kernels() == {}


def test_the_choice_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """On a GPU where one format's kernels are faster, one's are wrong, and one's are refused."""
    tried = []

    def attempt(name: str, kernels: object) -> trial.Trial:
        tried.append(name)
        if name == "q5_k":
            raise RuntimeError("Metal says no")
        return trial.Trial(0.5 if name == "q4_k" else 1e-4, 1e-3, 2e-3 if name != "q2_k" else 1e-4)

    monkeypatch.setenv("LOCALMIX_CACHE_DIR", str(tmp_path / "new"))
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(choice.trial, "attempt", attempt)
    assert list(choice.kernels()) == list(choice.kernels()) == ["q6_k", "q3_k"]
    assert tried == list(TABLE)


def test_read_rate() -> None:
    assert 1e6 < probe.read_rate(1 << 20) < 1e15
    assert (MlxBackend().read_rate() is None) == (mx.default_device() == mx.cpu)
