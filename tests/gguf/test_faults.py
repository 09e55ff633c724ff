"""What is in memory of a mapped file is entered into the page tables."""

import sys
from pathlib import Path

import numpy as np
import pytest

from localmix import gguf
from localmix.gguf import faults
from quant import FORMATS

resource = pytest.importorskip("resource")

NUMBERS = 4 << 20  # 16 MB


@pytest.fixture
def file(tmp_path: Path) -> gguf.File:
    path = tmp_path / "large.gguf"
    f32 = FORMATS["f32"]
    with gguf.Writer(path, {}, [gguf.TensorInfo("t", (NUMBERS,), f32)]) as out:
        out.write("t", np.arange(NUMBERS, dtype=np.float32).view(f32.dtype))
    return gguf.open(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page tables are told of nothing elsewhere")
def test_reading_stops_for_no_fault(file: gguf.File) -> None:
    thread = faults.spare(file.tensors.values())
    assert thread is not None
    thread.join()
    numbers = file.tensors["t"].data.reshape(-1)[:: 4096 // 4]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    total = numbers.sum()
    assert total > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 100  # of 4,096 pages; the edges are left


def test_files_that_are_gone_are_left_alone(file: gguf.File) -> None:
    file.tensors["t"].extent.path.unlink()
    assert faults._maps(file.tensors.values()) == []
