"""What memory a program may use: of the machine, of its container, of a group inside."""

from pathlib import Path

import pytest

from localmix.stream import memory


def test_what_there_is() -> None:
    found = memory.here()
    assert found.total >= found.available > 1 << 20


def group(folder: Path, limit: int | str, used: int, file: str = "memory.max", key: str = "anon") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"file 999999999\n{key} {used}\n")


@pytest.mark.skipif(memory.sys.platform == "darwin", reason="macOS has no control groups")
def test_a_group_has_no_more_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own limit and those of all above it count, of both versions of control groups."""
    two, one, own = tmp_path / "two", tmp_path / "one", tmp_path / "own"
    monkeypatch.setattr(memory, "_OWN", str(own))
    trees = (("", str(two), "memory.max", "anon"), ("memory", str(one), "memory.limit_in_bytes", "total_rss"))
    monkeypatch.setattr(memory, "_TREES", trees)
    own.write_text("0::/\n")
    group(two, 100 << 20, 30 << 20)
    assert memory.here() == memory.Memory(100 << 20, 70 << 20)
    group(two, "max", 30 << 20)
    group(two / "slice" / "scope", 90 << 20, 1 << 20)
    group(two / "slice", 95 << 20, 80 << 20)
    own.write_text("0::/slice/scope\n")
    assert memory.here() == memory.Memory(90 << 20, 15 << 20)
    own.write_text("5:cpu,memory:/a\n0::/\n")
    group(one / "a", 50 << 20, 60 << 20, "memory.limit_in_bytes", "total_rss")
    assert memory.here() == memory.Memory(50 << 20, 0)


def test_a_system_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is loaded there all the same."""
    monkeypatch.setattr(memory, "_MACHINE", str(tmp_path / "nothing"))
    if memory.sys.platform != "darwin":
        assert memory.here().available > 1 << 50
