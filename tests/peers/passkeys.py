"""`localmix passkey` against llama.cpp: the same texts, and whether llama.cpp's greedy answer gives the key.

By hand, in an environment that has localmix and llama-cpp-python:

    python tests/peers/passkeys.py MODEL.gguf [--lengths 256,512,1024,2048,4096,8192] [--depths 3] [--keys 2]

Told are both tables, in how many texts the two differ, and the largest difference of a key's log-probability.
"""

import argparse

import numpy as np
from llama_cpp_logits import LlamaCpp

import localmix
from localmix.measure import passkey
from localmix.measure.likelihood import nats_of
from localmix.measure.scoring import Scorer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--lengths", default="256,512,1024,2048,4096,8192")
    parser.add_argument("--depths", type=int, default=3)
    parser.add_argument("--keys", type=int, default=2)
    arguments = parser.parse_args()
    lengths = [int(length) for length in arguments.lengths.split(",")]
    model = localmix.load(arguments.model)
    depths = list(np.linspace(0, 1, arguments.depths))
    trials = passkey.trials(model.tokenizer, lengths, depths, arguments.keys)
    ours = Scorer(model.engine, max(lengths)).score([trial.question for trial in trials])
    peer = LlamaCpp(arguments.model, max(lengths), model.backend.threads)
    differ, far = [], 0.0
    found = {name: np.zeros((len(depths), len(lengths))) for name in ("localmix", "llama.cpp")}
    for trial, one in zip(trials, ours, strict=True):
        ids, first = list(trial.question.ids), trial.question.first
        logits, key = peer.logits(ids[:-1], first - 1), np.array(ids[first:])
        greedy = bool((logits.argmax(axis=1) == key).all())
        far = max(far, abs(float(-nats_of(logits, key).sum()) - one.nats))
        cell = depths.index(trial.depth), lengths.index(trial.length)
        found["localmix"][cell] += one.greedy
        found["llama.cpp"][cell] += greedy
        if greedy != one.greedy:
            differ.append(trial)
    for name, table in found.items():
        print(f"{name}, keys found of {arguments.keys}; rows are depths, columns lengths {lengths}")
        for depth, row in zip(depths, table, strict=True):
            print(f"  {depth:4.0%}  " + "  ".join(f"{int(count):>5}" for count in row))
    print(f"{len(differ)} of {len(trials)} texts differ; a key's log-probability by {far:.3f} nats at most")
    for trial in differ:
        print(f"  {trial.length} tokens, depth {trial.depth:.0%}, key {trial.key}")


if __name__ == "__main__":
    main()
