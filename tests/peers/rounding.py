"""What rounding activations costs: KL divergence of the logits from the reference backend's, of localmix and llama.cpp.

By hand, in an environment that has both localmix and llama-cpp-python:

    python tests/peers/rounding.py MODEL.gguf TEXT [--windows 6] [--context 512]

localmix gives large networks activations of 8 bits and attention in whole numbers, small ones 16 bits and floats; both
are tried here on any model. llama.cpp always has 8 bits.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from agreement import log_probabilities
from perplexity import Peer

import localmix
from localmix.engine.batch import Batch
from localmix.measure import windows
from localmix.model import Model
from quant.format import Floats


def logits(model: Model, ids: list[int], first: int) -> Floats:
    cache = model.engine.cache()
    return model.engine.forward(Batch.of([(cache.new(), 0, ids)], every=True), cache)[first:].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--context", type=int, default=512)
    a = parser.parse_args()
    reference = localmix.load(a.model, "reference")
    pieces = [w.ids for w in windows.cut(reference.tokenizer, windows.read_text(a.text), a.context, a.windows)]
    first = a.context // 2
    exact = [log_probabilities(logits(reference, ids, first)) for ids in pieces]
    found = {"llama.cpp": [Peer(a.model, a.context).logits(ids, first) for ids in pieces]}
    for kind in ("int8", "int16"):
        os.environ["LOCALMIX_ACTIVATIONS"] = kind
        model = localmix.load(a.model, "numba")
        found[f"localmix {kind}"] = [logits(model, ids, first) for ids in pieces]
    print(f"{a.model}, {a.windows} windows of {a.context}, the second half of each")
    for name, parts in found.items():
        ours = [log_probabilities(part) for part in parts]
        kl = np.concatenate([(np.exp(x) * (x - y)).sum(axis=1) for x, y in zip(exact, ours, strict=True)])
        same = np.concatenate([x.argmax(axis=1) == y.argmax(axis=1) for x, y in zip(exact, ours, strict=True)])
        print(f"{name:>15} mean KL {kl.mean():.1e}, same first choice {same.mean():.2%}")


if __name__ == "__main__":
    main()
