from pathlib import Path

from localmix.measure import machine


def test_what_there_is(tmp_path: Path) -> None:
    assert machine.processor().strip()


def test_the_disk_is_read(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(machine, "_SAMPLE", 1 << 24)
    assert machine.disk_speed(tmp_path) > 1e5
    file = tmp_path / "large"
    file.write_bytes(bytes(1 << 25))
    assert machine.disk_speed(tmp_path, file) > 1e5
    assert list(tmp_path.iterdir()) == [file]
