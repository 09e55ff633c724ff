"""Times passes of a few ids, checked as drafts are, in passes of one.

By hand, on a quiet machine:
    python tests/peers/passes.py [MODEL.gguf] [--depth 100] [--rounds 40] [-t 2]
Passes of all sizes in turn, each after one of the same size that is not timed; the quarter that was fastest ends where
the figures are.
"""

import argparse
from time import perf_counter

import numpy as np

import localmix
from localmix.engine.context import Context, advance

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-t", "--threads", type=int, default=None)
    a = parser.parse_args()
    model, rng = localmix.load(a.model, "numba", a.threads, draft="off"), np.random.default_rng(0)
    context, vocabulary = Context(model.engine, a.depth + SIZES[-1]), model.network.vocabulary
    context.advance(rng.integers(0, vocabulary, a.depth).tolist())
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(a.rounds):
        for size, some in times.items():
            ids = rng.integers(0, vocabulary, size).tolist()
            for _ in range(2):
                began = perf_counter()
                advance([(context, ids)], every=[True], apart=True)
                seconds = perf_counter() - began
                context.cut(a.depth)
            some.append(seconds)
    found = {size: float(np.percentile(some, 25)) for size, some in times.items()}
    print(f"{model.file.path.name}: {model.backend.isa}, {model.backend.threads} threads, {a.depth} tokens deep")
    print("ids     " + "".join(f"{size:7}" for size in SIZES))
    print("ms      " + "".join(f"{1e3 * found[size]:7.2f}" for size in SIZES))
    print("of one  " + "".join(f"{found[size] / found[1]:7.2f}" for size in SIZES))


if __name__ == "__main__":
    main()
