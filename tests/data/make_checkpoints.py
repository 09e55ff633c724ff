"""Writes checkpoints.npz: the logits (T, V) that transformers gives for the last tokens of IDS, for every checkpoint
that tests/family_checkpoints.py writes, loaded from its folder.

    PYTHONPATH=.:tests python tests/data/make_checkpoints.py

needs: torch, transformers 5. In float32, with the plain ("eager") implementations of attention and experts.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from family_checkpoints import IDS, KEPT, KINDS, write
from transformers import AutoModelForCausalLM


def main() -> None:
    answers = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            model, found = AutoModelForCausalLM.from_pretrained(
                write(Path(folder) / kind, kind),
                dtype=torch.float32,
                attn_implementation="eager",
                experts_implementation="eager",
                output_loading_info=True,
            )
            wrong = {key: names for key, names in found.items() if names}
            assert not wrong, (kind, wrong)
            with torch.no_grad():
                answers[kind] = model.eval()(torch.tensor([IDS])).logits[0, -KEPT:].float().numpy()
        print(kind, np.abs(answers[kind]).max())
    np.savez_compressed(Path(__file__).with_name("checkpoints.npz"), **answers)


if __name__ == "__main__":
    main()
