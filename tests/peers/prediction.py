"""Compares the speed that `localmix doctor` expects with what is then measured. By hand, on a quiet machine:

python tests/peers/prediction.py MODEL.gguf ... [-t 2]

Expected from the file itself and, as for one that is still on the hub, from its header alone; measured as the median
of three answers of 64 tokens. Prints both, and the difference in percent.
"""

import argparse
from statistics import median

import localmix
from localmix import backends, gguf
from localmix.measure import forecast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("-t", "--threads", type=int, default=2)
    a = parser.parse_args()
    for path in a.models:
        with gguf.open(path) as file:
            engine = backends.pick(None, a.threads)
            expected = 1 / forecast.seconds(file, engine)
            absent = 1 / forecast.seconds_of_absent(file, engine)
        model = localmix.load(path, threads=a.threads)
        model.tokenizer.end_ids = frozenset()
        rates = []
        for seed in range(4):
            answer = model.generate(list(range(40, 56)), max_tokens=64, seed=seed)
            answer.read()
            rates.append(answer.stats.decode_rate)
        measured = median(rates[1:])
        print(f"{path}: measured {measured:.1f} t/s; expected {expected:.1f} ({expected / measured - 1:+.0%}), "
              f"from the header alone {absent:.1f} ({absent / measured - 1:+.0%})")  # fmt: skip


if __name__ == "__main__":
    main()
