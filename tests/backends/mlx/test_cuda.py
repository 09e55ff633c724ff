"""What is done for NVIDIA's GPUs, on a machine that pretends to have one."""

import os
from pathlib import Path

import numpy as np
import pytest

from localmix import notices

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from localmix.backends.mlx import cuda  # noqa: E402


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LOCALMIX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv(cuda.VARIABLE, "")
    monkeypatch.setattr(mx.cuda, "is_available", lambda: True)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    monkeypatch.setattr(cuda, "_watched", cuda.threading.Event())
    monkeypatch.setattr(notices, "quiet", True)
    return tmp_path / "cache"


def test_compiled_kernels_are_kept_in_a_folder_of_this_version_and_device(nvidia: Path) -> None:
    cuda.prepare()
    folder = Path(os.environ[cuda.VARIABLE])
    assert folder.is_dir()
    assert folder.parent == nvidia / "mlx"
    assert folder.name.startswith("0.")
    assert folder.name.endswith(mx.device_info()["architecture"])


def test_a_folder_that_the_user_names(nvidia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cuda.VARIABLE, str(nvidia / "own"))
    cuda.prepare()
    assert os.environ[cuda.VARIABLE] == str(nvidia / "own")
    assert not (nvidia / "mlx").exists()


def test_no_place_for_kernels(nvidia: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nvidia.write_text("a file in the folder's place")
    cuda.prepare()
    assert "compiled anew in each run" in capsys.readouterr().err
    assert not os.environ[cuda.VARIABLE]


def test_nothing_is_done_without_such_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cuda.VARIABLE, raising=False)
    cuda.prepare()
    assert cuda.present() is False
    assert cuda.VARIABLE not in os.environ
    array = mx.zeros(3)
    assert cuda.placed(array) is array


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float16", "float32"])
def test_weights_are_copied_as_they_are(nvidia: Path, dtype: str) -> None:
    array = mx.array(np.random.default_rng(0).integers(0, 200, (3, 64)).astype(dtype))
    copy = cuda.placed(array)
    assert copy is not array
    assert copy.dtype == array.dtype
    assert mx.array_equal(copy, array).item()


def test_progress_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_one(seconds: float) -> None:
        folder = tmp_path / "long" / "name"
        folder.mkdir(parents=True, exist_ok=True)
        if len(list(folder.iterdir())) < 2:
            (folder / f"{len(list(folder.iterdir()))}.ptx").touch()

    monkeypatch.setattr(cuda.time, "sleep", compile_one)
    cuda._watch(tmp_path, patience=0.2)
    first, *more = capsys.readouterr().err.splitlines()
    assert first.startswith("localmix: compiling kernels for this GPU as they are first needed")
    assert more == ["localmix: 1 kernels compiled in 0 s", "localmix: 2 kernels compiled in 0 s"]
