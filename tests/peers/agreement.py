"""Localmix along llama.cpp's greedy answers to ten prompts, teacher-forced: first choices, KL divergence, near-ties.

By hand, in an environment that has both localmix and llama-cpp-python:

    python tests/peers/agreement.py MODEL.gguf [--backend numba] [--tokens 64] [--exact]

llama.cpp rounds activations to 8 bits. With --exact it gets the same weights written out as F32 and does not: what is
left is then the difference of the programs.
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
from localmix.session import template_of
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


def continuation(peer: Llama, prompt: list[int], tokens: int) -> tuple[list[int], Floats]:
    """llama.cpp's greedy ids after `prompt`, and its logits (T, V) before each."""
    peer.reset()
    peer.eval(prompt)
    ids: list[int] = []
    for _ in range(tokens):
        best = int(np.argmax(peer.scores[peer.n_tokens - 1]))
        ids.append(best)
        peer.eval([best])
    first = len(prompt) - 1
    return ids, peer.scores[first : first + tokens].copy()


def log_probabilities(logits: Floats) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--backend")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--exact", action="store_true")
    a = parser.parse_args()
    model = localmix.load(a.model, a.backend)
    with peer_file(a.model, a.exact) as path:
        peer = Llama(path, n_ctx=min(1024, model.config.context), logits_all=True, verbose=False)
    same, divergences, margins = 0, [], [0.0]
    for prompt in PROMPTS:
        start = template_of(model).encode([Message("user", prompt)])
        ids, expected = continuation(peer, start, a.tokens)
        ours = log_probabilities(model.logits(start + ids)[len(start) - 1 : -1])
        theirs = log_probabilities(expected)
        agree = ours.argmax(axis=1) == theirs.argmax(axis=1)
        same += int(agree.sum())
        divergences.append((np.exp(theirs) * (theirs - ours)).sum(axis=1))
        chosen = np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], axis=1)[:, 0]
        margins += (theirs.max(axis=1) - chosen)[~agree].tolist()
    kl = np.concatenate(divergences)
    print(f"{model.backend.name} {model.backend.isa}: {kl.size} tokens after {len(PROMPTS)} prompts of {a.model}")
    print(f"same first choice {100 * same / kl.size:.2f} %, mean KL {kl.mean():.2e}, largest {kl.max():.2e}")
    print(f"where they differ, llama.cpp prefers its choice by at most {max(margins):.3f}")


if __name__ == "__main__":
    main()
