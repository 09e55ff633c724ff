"""Writes quantized_families.npz: the logits (T, V) that llama.cpp gives for the last tokens of IDS, for each checkpoint
of tests/family_checkpoints.py that it can compute, converted with a recipe.

    PYTHONPATH=.:tests python tests/data/make_quantized_families.py

needs: llama-cpp-python
"""

import tempfile
from pathlib import Path

import numpy as np
from family_checkpoints import CONTEXT, FLAT, IDS, KEPT, QUANTIZED, write
from llama_cpp import Llama

from localmix import convert
from quant.recipe import RECIPES


def main() -> None:
    answers = {}
    for kind, recipe in QUANTIZED.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            checkpoint = convert.open_checkpoint(write(Path(folder) / kind, kind, FLAT))
            convert.write(convert.make_plan(checkpoint, RECIPES[recipe]), path, threads=1)
            model = Llama(
                str(path), n_ctx=CONTEXT, logits_all=True, type_k=0, type_v=0, flash_attn=False, verbose=False
            )
            model.eval(IDS)
            answers[kind] = model.scores[len(IDS) - KEPT : len(IDS)].copy()
            model.close()
        print(kind, recipe)
    np.savez_compressed(Path(__file__).with_name("quantized_families.npz"), **answers)


if __name__ == "__main__":
    main()
