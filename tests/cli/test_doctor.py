"""What doctor prints, and its exit code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import localmix
from loopback_hub import Hub, serve
from small_models import STORIES

from localmix.cli.prognosis import examine
from localmix.cli.selftest import passes
from localmix.errors import LocalmixError

REPOSITORY = "some/Stories-GGUF"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        hub.repositories[REPOSITORY] = {"stories.F32.gguf": STORIES.read_bytes()}
        yield hub


def test_machine_and_bundled_model() -> None:
    done = localmix("doctor", "--quick")
    assert done.returncode == 0, done.stderr
    rows = dict(line.split("\t") for line in done.stdout.splitlines())
    assert [*rows][:7] == ["localmix", "processor", "numba", "mlx", "default", "memory", "free memory"]
    assert rows["free memory"].endswith("GB")
    assert (rows["fits"], rows["command"]) == ("resident", "localmix chat")


def test_a_model_is_timed_before_it_is_loaded() -> None:
    found = json.loads(localmix("doctor", STORIES, "--backend", "reference", "--json").stdout)
    machine, model = found["machine"], found["model"]
    assert machine["memory_bytes"] >= machine["free_memory_bytes"] > 0
    assert machine["memory_speed_bytes_per_second"] > 1e8
    assert machine["disk_speed_bytes_per_second"] > 1e6
    assert model["expected_tokens_per_second"] > 1
    assert model["command"] == f"localmix chat {STORIES} --backend reference"


def test_a_model_that_is_still_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    place = {"LOCALMIX_MODELS": str(tmp_path / "models"), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
    done = localmix("doctor", f"{REPOSITORY}:F32", "--json", **place, HF_HUB_DISABLE_XET="1")
    model = json.loads(done.stdout)["model"]
    assert model["model"] == f"{REPOSITORY}/stories.F32.gguf on the hub, not here yet"
    assert model["expected_tokens_per_second"] > 1
    name = f"{REPOSITORY}:F32"
    assert model["command"] == f"localmix pull {name} && localmix chat {name}"
    assert not (tmp_path / "models").exists()
    missing = localmix("doctor", "nobody/nothing", "--quick", **place)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "no such repository" in missing.stderr


def test_verdicts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
    from localmix.backends.mlx import selftest

    found = [selftest.Check("good", True, "error 1e-9"), selftest.Check("no GPU", None, "none here")]
    monkeypatch.setattr(selftest, "checks", lambda networks: iter(found))
    assert passes(quiet=False)
    found.append(selftest.Check("bad", False, "error 1.0"))
    assert not passes(quiet=False)
    out = capsys.readouterr()
    assert out.out.splitlines()[2:] == ["pass\tgood\terror 1e-9", "skip\tno GPU\tnone here", "FAIL\tbad\terror 1.0"]
    assert out.err.splitlines()[-1].endswith("1 passed, 1 failed, 1 cannot run here; the first that failed: bad")


def test_a_model_beside_the_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLX would refuse to load is not called resident; the processor may have it."""
    pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
    from localmix.backends.mlx import memory

    def rows(room: int, free: int, backend: str | None = None) -> dict[str, Any]:
        device = memory.Device("Apple A1", (1 << 30) + room)
        monkeypatch.setattr(memory, "here", lambda: device)
        return examine(None, backend, None, {"free_memory_bytes": free}, quick=True)

    monkeypatch.setattr("localmix.backends.best", lambda: "mlx")
    large, small = 10**10, 10**7
    assert (rows(large, large)["fits"], rows(large, large)["command"]) == ("resident", "localmix chat")
    other = rows(small, large)
    assert (other["fits"], other["command"]) == ("resident", "localmix chat --backend numba")
    assert other["mlx"] == "no: it needs 20.8 MB there, 10 MB free; the processor can run it"
    beside = rows(half := 300_000_000, large)
    assert (beside["fits"], beside["command"]) == ("resident", "localmix chat --backend numba")
    assert beside["mlx"].startswith("experts are streamed from the disk: ")
    assert beside["mlx"].endswith("; the processor can run it from memory")
    for streamed in (rows(half, large, "mlx"), rows(large, half)):
        assert streamed["fits"] == "streamed"
        assert streamed["how"].endswith("of 16.8 MB stay in memory; with 443 MB all would")
    for refused in (rows(small, large, "mlx"), rows(large, small)):
        assert refused["fits"] == "no"
        assert refused["command"] == "none: choose a smaller format or model"
    assert refused["how"].startswith("no: ")


@pytest.mark.parametrize(("room", "fits"), [(10**9, "fits, ask for it with --backend mlx"), (10**7, "does not fit")])
def test_a_model_beside_an_nvidia_gpu(monkeypatch: pytest.MonkeyPatch, room: int, fits: str) -> None:
    """It has memory of its own, and is used where it is asked for."""
    pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
    from localmix.backends.mlx import memory

    device = memory.Device("NVIDIA N1", (1 << 30) + room, own=True)
    monkeypatch.setattr(memory, "here", lambda: device)
    monkeypatch.setattr("localmix.backends.best", lambda: "numba")
    rows = examine(None, None, None, {"free_memory_bytes": 10**8}, quick=True)
    assert rows["gpu"].startswith(f"NVIDIA N1: the model {fits} (needs 20.8 MB")
    asked = examine(None, "mlx", None, {"free_memory_bytes": 10**6}, quick=True)
    assert asked["fits"] == ("resident" if room > 10**8 else "no")


def test_no_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localmix.backends.no_mlx", lambda: "it is not installed")
    with pytest.raises(LocalmixError, match="no kernels to check: it is not installed"):
        passes(quiet=False)
