"""What doctor prints, and its exit code."""

import pytest
from command_line import localmix

from localmix.cli.selftest import passes
from localmix.errors import LocalmixError


def test_machine() -> None:
    done = localmix("doctor")
    assert done.returncode == 0
    names = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert names == ["localmix", "numba", "mlx", "default"]


def test_verdicts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
    from localmix.backends.mlx import selftest

    found = [selftest.Check("good", True, "error 1e-9"), selftest.Check("no GPU", None, "none here")]
    monkeypatch.setattr(selftest, "checks", lambda: iter(found))
    assert passes(quiet=False)
    found.append(selftest.Check("bad", False, "error 1.0"))
    assert not passes(quiet=False)
    out = capsys.readouterr()
    assert out.out.splitlines()[2:] == ["pass\tgood\terror 1e-9", "skip\tno GPU\tnone here", "FAIL\tbad\terror 1.0"]
    assert out.err.splitlines()[1].endswith("1 passed, 1 failed, 1 cannot be run here")


def test_no_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.backends.no_mlx", lambda: "it is not installed")
    with pytest.raises(LocalmixError, match="there are no kernels to check: it is not installed"):
        passes(quiet=False)
