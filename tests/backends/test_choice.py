"""Which backend is taken, and what is said of one that cannot be."""

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


@pytest.mark.parametrize("name", backends.NAMES)
@pytest.mark.parametrize("threads", [-1, 0, 9999])
def test_a_number_of_threads_that_makes_no_sense(name: str, threads: int) -> None:
    with pytest.raises(LocalmixError, match=f"{threads} threads: expected 1 to 512"):
        backends.pick(name, threads)


def test_unknown() -> None:
    with pytest.raises(LocalmixError, match="unknown backend 'cuda': expected one of numba, mlx, reference"):
        backends.pick("cuda")


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(LocalmixError, match=r"not installed: pip install 'localmix\[mlx\]', or 'localmix\[cuda\]'"):
        backends.pick("mlx")


def test_made_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(LocalmixError, match="Apple silicon and Linux, this is Darwin x86_64, or use --backend numba"):
        backends.pick("mlx")


def test_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError("libmlx.so: cannot open shared object file")

    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    monkeypatch.setattr(backends, "import_module", refuse)
    with pytest.raises(LocalmixError, match=r"cannot be loaded \(libmlx.so: .*\): pip install --force-reinstall"):
        backends.pick("mlx")


@pytest.mark.skipif(
    (platform.system(), platform.machine()) not in {("Linux", "x86_64"), ("Darwin", "arm64")},
    reason="the tests' requirements bring MLX to x86 Linux and Apple silicon",
)
def test_mlx_is_tested_here() -> None:
    """Without it every test of that backend is skipped, and nobody sees."""
    assert backends.no_mlx() is None


@pytest.mark.skipif(backends.no_mlx() is not None, reason="there is no MLX here")
def test_mlx_has_its_own_threads() -> None:
    with pytest.raises(LocalmixError, match="leave out -t"):
        backends.pick("mlx", threads=2)
