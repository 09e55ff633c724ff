"""Writes llama_cpp.npz: for each weight format the blocks of a random matrix, and the logits (T, V) that llama.cpp
gives for the network that tests/quantized_models.py makes of them.

    PYTHONPATH=.:tests python tests/data/make_llama_cpp.py

needs: llama-cpp-python
"""

import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama
from quantized_models import IDS, SIZE, to_gguf

from quant import FORMATS


def logits(path: Path) -> np.ndarray:
    """Logits (T, V) of IDS."""
    model = Llama(str(path), n_ctx=64, logits_all=True, verbose=False)
    model.eval(IDS)
    found = model.scores[: len(IDS)].copy()
    model.close()
    return found


def main() -> None:
    matrix = np.random.RandomState(0).standard_normal((SIZE, SIZE)).astype(np.float32) * np.float32(0.5 / 16)
    answers = {}
    for name, format in FORMATS.items():
        if format.quantize is None:
            continue
        blocks = format.quantize(matrix, None)
        with tempfile.TemporaryDirectory() as folder:
            answers[f"{name} logits"] = logits(to_gguf(format, blocks, Path(folder) / f"{name}.gguf"))
        if format.block > 1:  # the others are the matrix itself
            answers[f"{name} blocks"] = blocks
        print(name)
    np.savez_compressed(Path(__file__).with_name("llama_cpp.npz"), **answers)


if __name__ == "__main__":
    main()
