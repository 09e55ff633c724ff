"""Where files lie, with and without a home folder."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from quant import folders


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A user that the system does not know, without variables, and a temporary folder."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in list(os.environ):
        if name.startswith(("XDG_", "LOCALMIX_")) or name == "HOME":
            monkeypatch.delenv(name)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders._temporary.cache_clear()
    yield monkeypatch
    folders._temporary.cache_clear()


def test_the_variable_decides_and_its_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("X", "~/x")
    assert folders.folder("X", "data", "models") == tmp_path / "x"
    monkeypatch.setenv("X", "/x")
    assert folders.folder("X", "data", "models") == Path("/x")


@pytest.mark.parametrize("variable", ["XDG_DATA_HOME", "HOME"])
def test_the_platforms_place(variable: str, bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare.setenv(variable, str(tmp_path))
    found = folders.folder("X", "data", "models")
    assert found.is_relative_to(tmp_path)
    assert found.parts[-2:] == ("localmix", "models")


@pytest.mark.parametrize("home", [None, "file", ""])
def test_without_a_home_folder_a_temporary_one_that_is_said_once(
    home: str | None, bare: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if home is not None:
        bare.setenv("HOME", str(tmp_path / home) if home else "")
        (tmp_path / "file").touch()
    place = tmp_path / f"localmix-{os.getuid()}"
    assert folders.folder("X", "cache") == place / "cache"
    assert folders.folder("X", "data", "models") == place / "data" / "models"
    assert place.stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == f"localmix: no writable home folder: files are kept in {place}\n"
    folders._temporary.cache_clear()
    folders.folder("X", "cache")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("planted", ["link", "shared"])
def test_a_temporary_folder_that_others_can_write_is_not_taken(
    planted: str, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / f"localmix-{os.getuid()}"
    if planted == "link":
        (tmp_path / "theirs").mkdir()
        place.symlink_to(tmp_path / "theirs")
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(OSError, match="Not a directory"):
        (folders.folder("X", "cache") / "kernels").mkdir(parents=True)
