"""The script for real GPUs runs, so that it does on the day when there is one."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
SCRIPT = Path(__file__).parents[2] / "gpu" / "run.py"


def test_the_script_runs(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--quick", "--steps", "parity,operations,bench", "--out", tmp_path / "rows.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| bundled model, 16-bit |" in done.stdout
    assert "FAIL" not in done.stdout
    assert (tmp_path / "rows.json").stat().st_size > 100
