"""Perplexity of the same file and text from localmix and from llama.cpp: the same windows, the same tokens scored.

By hand, in an environment that has both localmix and llama-cpp-python:

    python tests/peers/perplexity.py MODEL.gguf TEXT [--context 512] [--chunks 20] [--backend numba]

llama.cpp cuts and scores the text itself here, as its perplexity tool does: its own tokenizer, a BOS in the place of
each window's first token if the file asks for one, logits of the second half.
"""

import argparse
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp_logits import LlamaCpp

import localmix
from localmix.measure import perplexity, windows


class Peer(LlamaCpp):
    """It cuts and scores the text itself."""

    def encode(self, text: str) -> list[int]:
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, raw, len(raw), ids, len(ids), True, False)
        return list(ids[:count])

    def perplexity(self, text: str, context: int, chunks: int) -> float:
        ids, nats = self.encode(text), []
        bos = llama_cpp.llama_vocab_bos(self.vocabulary) if llama_cpp.llama_vocab_get_add_bos(self.vocabulary) else None
        first = context // 2
        for i in range(min(chunks, len(ids) // context)):
            window = ids[i * context : (i + 1) * context]
            window[0] = window[0] if bos is None else bos
            self.forget()
            logits = self.logits(window, first)[:-1].astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            chosen = logits[np.arange(len(logits)), window[first + 1 :]]
            nats.append(np.log(np.exp(logits).sum(axis=1)) - chosen)
        return float(np.exp(np.concatenate(nats).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--backend")
    a = parser.parse_args()
    text = a.text.read_text()
    model = localmix.load(a.model, a.backend)
    ours = perplexity.measure(model, windows.cut(model.tokenizer, text, a.context, a.chunks))
    theirs = Peer(a.model, a.context).perplexity(text, a.context, a.chunks)
    print(f"{a.model}, {a.text.name}, {a.chunks} windows of {a.context}, {ours.tokens} tokens scored")
    print(f"localmix ({model.backend.name}) {ours.perplexity:.4f} ± {ours.error:.4f}, llama.cpp {theirs:.4f}: ", end="")
    print(f"{ours.perplexity / theirs - 1:+.3%}")


if __name__ == "__main__":
    main()
