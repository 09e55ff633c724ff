"""Localmix along llama.cpp's greedy answers to ten prompts, teacher-forced: first choices, KL divergence, near-ties.

By hand, in an environment that has both localmix and llama-cpp-python:

    python tests/peers/agreement.py MODEL.gguf [--backend numba] [--tokens 64] [--exact]

llama.cpp rounds activations to 8 bits, and that is chaotic: a difference of 1e-7 flips a rounding, which flips others.
So the script also says how far llama.cpp is from itself, the same ids token by token and in one batch. With --exact it
gets the same weights written out as F32 and rounds nothing: what is left is the difference of the programs.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from llama_cpp import Llama

import localmix
from localmix import gguf
from localmix.conversation.chat import template_of
from localmix.template import Message
from quant import FORMATS
from quant.format import Floats

PROMPTS = (
    "What is the capital of Japan?",
    "Tell me a story about a cat.",
    "Why is the sky blue?",
    "Write a short poem about the sea.",
    "How do I boil an egg?",
    "List three fruits.",
    "What is 17 plus 25?",
    "Explain what a router in a mixture of experts does.",
    "Translate 'good morning' into French.",
    "Who wrote Hamlet?",
)


@contextlib.contextmanager
def peer_file(path: str, exact: bool) -> Iterator[str]:
    """The file that llama.cpp reads: the same, or its weights in F32 (which must fit into the temporary folder)."""
    if not exact:
        yield path
        return
    file, f32 = gguf.open(path), FORMATS["f32"]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "f32.gguf"
        infos = [gguf.TensorInfo(t.name, t.shape, f32) for t in file.tensors.values()]
        with gguf.Writer(copy, file.typed_metadata, infos) as writer:
            for t in file.tensors.values():
                writer.write(t.name, t.format.dequantize(t.data).reshape(t.shape))
        yield str(copy)


def continuation(peer: Llama, prompt: list[int], tokens: int) -> tuple[list[int], Floats, Floats]:
    """llama.cpp's greedy ids after `prompt`; its logits (T, V) before each, token by token and again in one batch."""
    peer.reset()
    peer.eval(prompt)
    ids: list[int] = []
    for _ in range(tokens):
        best = int(np.argmax(peer.scores[peer.n_tokens - 1]))
        ids.append(best)
        peer.eval([best])
    answer = slice(len(prompt) - 1, len(prompt) - 1 + tokens)
    stepwise = peer.scores[answer].copy()
    peer.reset()
    peer.eval(prompt + ids)
    return ids, stepwise, peer.scores[answer].copy()


def log_probabilities(logits: Floats) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


class Comparison:
    """First choices and KL divergence from llama.cpp's distributions, over all positions of all prompts."""

    def __init__(self) -> None:
        self.divergences: list[np.ndarray] = []
        self.margins: list[float] = []  # where first choices differ: how much llama.cpp prefers its own

    def add(self, logits: Floats, expected: Floats) -> None:
        ours, theirs = log_probabilities(logits), log_probabilities(expected)
        self.divergences.append((np.exp(theirs) * (theirs - ours)).sum(axis=1))
        first = ours.argmax(axis=1)
        chosen = np.take_along_axis(theirs, first[:, None], axis=1)[:, 0]
        self.margins += (theirs.max(axis=1) - chosen)[first != theirs.argmax(axis=1)].tolist()

    def __str__(self) -> str:
        kl = np.concatenate(self.divergences)
        same = 100 * (1 - len(self.margins) / kl.size)
        margin = max(self.margins, default=0.0)
        return f"same first choice {same:.2f} %, mean KL {kl.mean():.2e}, largest {kl.max():.2e}, margin {margin:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--backend")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--exact", action="store_true")
    a = parser.parse_args()
    model = localmix.load(a.model, a.backend)
    with peer_file(a.model, a.exact) as path:
        peer = Llama(path, n_ctx=min(1024, model.network.context), logits_all=True, verbose=False)
    ours, itself = Comparison(), Comparison()
    for prompt in PROMPTS:
        start = template_of(model).encode([Message("user", prompt)])
        ids, stepwise, batched = continuation(peer, start, a.tokens)
        ours.add(model.logits(start + ids)[len(start) - 1 : -1], stepwise)
        itself.add(batched, stepwise)
    print(f"{a.model}: {a.tokens} tokens after each of {len(PROMPTS)} prompts, {model.backend.isa}")
    print(f"{model.backend.name} against llama.cpp: {ours}")
    print(f"llama.cpp in one batch against itself: {itself}")


if __name__ == "__main__":
    main()
