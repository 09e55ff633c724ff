from pathlib import Path

from localmix.measure import machine


def test_what_there_is(tmp_path: Path) -> None:
    assert machine.processor().strip()
    memory = machine.memory()
    assert memory.total >= memory.available > 1 << 20


def test_a_container_has_no_more_than_its_share(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    limit, stat = tmp_path / "max", tmp_path / "stat"
    limit.write_text(f"{100 << 20}\n")
    stat.write_text(f"file 999999999\nanon {30 << 20}\n")
    monkeypatch.setattr(machine, "_GROUPS", ((str(limit), str(stat), "anon"),))
    if machine.sys.platform != "darwin":
        assert machine.memory() == machine.Memory(100 << 20, 70 << 20)


def test_the_disk_is_read(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(machine, "_SAMPLE", 1 << 24)
    assert machine.disk_speed(tmp_path) > 1e5
    file = tmp_path / "large"
    file.write_bytes(bytes(1 << 25))
    assert machine.disk_speed(tmp_path, file) > 1e5
    assert list(tmp_path.iterdir()) == [file]
