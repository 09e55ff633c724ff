"""Writes families.npz: the logits (T, V) that llama.cpp gives for the last tokens of IDS, for each file that
tests/random_families.py makes.

    PYTHONPATH=.:tests python tests/data/make_families.py

needs: llama-cpp-python
"""

import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama
from random_families import CONTEXT, FAMILIES, IDS, KEPT, make


def main() -> None:
    answers = {}
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder) / f"{name}.gguf", name)
            model = Llama(
                str(path), n_ctx=CONTEXT, logits_all=True, type_k=0, type_v=0, flash_attn=False, verbose=False
            )
            model.eval(IDS)
            answers[name] = model.scores[len(IDS) - KEPT : len(IDS)].copy()
            model.close()
        print(name)
    np.savez_compressed(Path(__file__).with_name("families.npz"), **answers)


if __name__ == "__main__":
    main()
