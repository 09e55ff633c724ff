"""Decoding with keys and values of each kind, in turn, at depths of context: tokens a second beside f16's.

By hand, on a quiet machine:
    python tests/peers/cache_kinds.py [MODEL.gguf] [--depth 4096]... [--rounds 5] [--tokens 16]
What they cost in accuracy: localmix perplexity MODEL TEXT --kv KIND.
"""

import argparse
import time
from statistics import median

import numpy as np

import localmix
from localmix.engine.batch import Batch

KINDS = ("f16", "q8_0", "q4_0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--depth", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("-t", "--threads", type=int, default=None)
    a = parser.parse_args()
    model = localmix.load(a.model, "numba", a.threads, draft="off")
    rng, engine = np.random.default_rng(0), model.engine
    print(f"{model.file.path.name}: {model.backend.isa}, {model.backend.threads} threads")
    print(f"{'depth':>6} {'kind':>5} {'t/s':>8} {'of f16':>7} {'a position':>11}")
    for depth in a.depth or [4096]:
        caches = {kv: engine.cache(depth + a.tokens, kv) for kv in KINDS}
        sequences = {kv: cache.new() for kv, cache in caches.items()}
        for kv, cache in caches.items():
            cache.fill(sequences[kv], depth)
        times: dict[str, list[float]] = {kv: [] for kv in KINDS}
        for _ in range(a.rounds + 1):
            for kv, cache in caches.items():
                cache.truncate(sequences[kv], depth)
                for at in range(depth, depth + a.tokens):
                    ids = [int(rng.integers(model.network.vocabulary))]
                    began = time.perf_counter()
                    engine.forward(Batch.of([(sequences[kv], at, ids)]), cache)
                    times[kv].append(time.perf_counter() - began)
        speeds = {kv: 1 / median(found[a.tokens :]) for kv, found in times.items()}
        for kv, speed in speeds.items():
            share = speed / speeds["f16"]
            print(f"{depth:6} {kv:>5} {speed:8.1f} {share:7.2f} {caches[kv].position_bytes:9} B", flush=True)


if __name__ == "__main__":
    main()
