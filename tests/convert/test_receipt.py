"""What is measured afterwards goes into the room that was left for it, and nothing else changes."""

from pathlib import Path

import checkpoint_folders
import numpy as np
from random_checkpoints import SPECS

from localmix import convert, gguf
from localmix.convert.receipt import FIGURES, fill_in, read_receipt
from quant.recipe import RECIPES


def test_calibration_and_measured_figures(tmp_path: Path) -> None:
    checkpoint = convert.open_checkpoint(checkpoint_folders.hugging_face(tmp_path / "model", SPECS[0]))
    counts = {"tokens": 5000, "experts_from_average": ["blk.1 expert 3"]}
    said = convert.receipt(checkpoint, "Q8_0", counts, measure=True)
    out = tmp_path / "out.gguf"
    convert.write(convert.make_plan(checkpoint, RECIPES["Q8_0"], extra=said), out, threads=1)
    before = gguf.open(out)
    found = read_receipt(before.metadata)
    assert found["calibration.tokens"] == 5000
    assert found["calibration.experts_from_average"] == ["blk.1 expert 3"]
    assert [found["measured." + key] for key in ("text", *FIGURES)] == [None] * 8
    size, weights = out.stat().st_size, before.tensors["output.weight"].data.tobytes()
    fill_in(out, "held out.txt é" + "é" * 200, {key: 0.25 + i for i, key in enumerate(FIGURES)})
    after = gguf.open(out)
    found = read_receipt(after.metadata)
    assert found["measured.text"].startswith("held out.txt éé")
    assert [found["measured." + key] for key in FIGURES] == [np.float32(0.25 + i) for i in range(len(FIGURES))]
    assert out.stat().st_size == size
    assert after.tensors["output.weight"].data.tobytes() == weights
