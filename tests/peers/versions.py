"""Two versions of localmix on one model, in turns: is the newer one as fast?

By hand, with the `localmix` command of two environments; what follows is given to `localmix bench`:

    python tests/peers/versions.py OLD/bin/localmix NEW/bin/localmix [--pairs 5] -m MODEL.gguf -p 32,512 -n 64

Told are both medians of each test and the median of the pairs' ratios: what a busy machine does to one run it does to
the one beside it. The first run of each, which compiles, does not count.
"""

import argparse
import json
import subprocess
from collections import defaultdict
from statistics import median


def measured(command: str, options: list[str]) -> dict[str, float]:
    """Tokens a second of each test."""
    done = subprocess.run([command, "bench", "-q", "--json", *options], check=True, stdout=subprocess.PIPE, text=True)
    return {f"{one['test']} at depth {one['depth']}": one["tokens_per_second"] for one in json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--pairs", type=int, default=5)
    arguments, options = parser.parse_known_args()
    commands = (arguments.old, arguments.new)
    for command in commands:
        measured(command, options)
    found = defaultdict[str, list[tuple[float, float]]](list)
    for pair in range(arguments.pairs):
        order = commands if pair % 2 == 0 else commands[::-1]
        runs = {command: measured(command, options) for command in order}
        for test, old in runs[arguments.old].items():
            found[test].append((old, runs[arguments.new][test]))
    for test, pairs in found.items():
        old, new = (median(side) for side in zip(*pairs, strict=True))
        ratio = median(b / a for a, b in pairs)
        print(f"{test:<24} old {old:8.1f}  new {new:8.1f} tokens a second, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
