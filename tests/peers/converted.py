"""Every format and recipe that `localmix quantize` writes, read by llama.cpp: KL divergence of its logits from ours.

By hand, in an environment that has both localmix and llama-cpp-python:

    python tests/peers/converted.py CHECKPOINT TEXT [--tokens 2000] [--formats Q4_K_M,IQ4_XS] [--backend numba]

The same file and the same documents (see held_out.py) in both. llama.cpp rounds activations to 8 bits, beside BF16 to
BF16: most of the difference. That of F32 and F16 files is the difference of the programs. The bar is 1e-3.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from held_out import CONTEXT, documents, first
from llama_cpp import Llama

import localmix
from localmix import convert
from localmix.measure import windows
from localmix.measure.windows import Window
from quant import FORMATS
from quant.recipe import RECIPES, Recipe

BAR = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--formats", default=",".join(recipes()))
    parser.add_argument("--backend")
    a = parser.parse_args()
    checkpoint = convert.open_checkpoint(a.checkpoint, True)
    texts = documents(a.text)[1]
    for name in a.formats.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            convert.write(convert.make_plan(checkpoint, recipes()[name]), path, 2)
            model = localmix.load(path, a.backend)
            pieces = first(windows.documents(model.tokenizer, texts, CONTEXT), a.tokens)
            peer = Llama(str(path), n_ctx=CONTEXT, logits_all=True, verbose=False)
            kl = np.concatenate([divergence(model.logits(piece.ids), theirs(peer, piece)) for piece in pieces])
            verdict = "" if kl.mean() < BAR else "  beyond the bar"
            print(f"{name:>10} {path.stat().st_size / 1e6:6.2f} MB, {kl.size} tokens: mean KL {kl.mean():.1e}, "
                  f"largest {kl.max():.1e}{verdict}", flush=True)  # fmt: skip


def recipes() -> dict[str, Recipe]:
    """The named ones, and each format that can be written in all matrices."""
    bare = {f"all-{name}": Recipe(0, name) for name, row in FORMATS.items() if row.quantize}
    return RECIPES | bare


def theirs(peer: Llama, piece: Window) -> np.ndarray:
    peer.reset()
    peer.eval(list(piece.ids))
    return peer.scores[: len(piece)]


def divergence(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of ours from theirs, nats at each token (T,)."""
    q, p = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True) for logits in map(np.float64, (ours, theirs)))
    return (np.exp(p) * (p - q)).sum(axis=1)


if __name__ == "__main__":
    main()
