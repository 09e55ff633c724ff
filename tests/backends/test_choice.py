"""Which backend is taken, and what is said of one that cannot be."""

import importlib.util
import platform

import pytest

from localmix import backends
from localmix.errors import LocalmixError


@pytest.mark.parametrize(
    ("system", "machine", "installed", "best"),
    [
        ("Darwin", "arm64", True, "mlx"),
        ("Darwin", "arm64", False, "numba"),
        ("Darwin", "x86_64", True, "numba"),
        ("Linux", "aarch64", True, "numba"),
    ],
)
def test_best(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, installed: bool, best: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(backends, "find_spec", lambda name: object() if installed else None)
    assert backends.best() == best


def test_unknown() -> None:
    with pytest.raises(LocalmixError, match="unknown backend 'cuda': expected one of numba, mlx, reference"):
        backends.pick("cuda")


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(LocalmixError, match=r"not installed: pip install 'localmix\[mlx\]'"):
        backends.pick("mlx")


@pytest.mark.skipif(importlib.util.find_spec("mlx") is None, reason="the mlx backend is not installed")
def test_mlx_has_its_own_threads() -> None:
    with pytest.raises(LocalmixError, match="leave -t out"):
        backends.pick("mlx", threads=2)
