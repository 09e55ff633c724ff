"""Writes quantized_families.npz: the logits (T, V) that llama.cpp gives after each of IDS, for each checkpoint of
tests/family_checkpoints.py that it can compute, converted with a recipe.

    PYTHONPATH=.:tests:tests/peers python tests/data/make_quantized_families.py

needs: llama-cpp-python
"""

import tempfile
from pathlib import Path

import numpy as np
from families import llama_cpp_logits
from family_checkpoints import QUANTIZED, write

from localmix import convert
from quant.recipe import RECIPES


def main() -> None:
    answers = {}
    for kind, recipe in QUANTIZED.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            checkpoint = convert.open_checkpoint(write(Path(folder) / kind, kind))
            convert.write(convert.make_plan(checkpoint, RECIPES[recipe]), path, threads=1)
            answers[kind] = llama_cpp_logits(path)
        print(kind, recipe)
    np.savez_compressed(Path(__file__).with_name("quantized_families.npz"), **answers)


if __name__ == "__main__":
    main()
