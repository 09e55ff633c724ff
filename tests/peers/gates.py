"""Counts what drafts by lookup gain at given costs, without a clock: what the gate chooses, also where passes are held
up by other programs, beside what it would choose if it knew which ids come.

By hand: python tests/peers/gates.py [MODEL.gguf] [--text FILE]... [--passages 6] [--tokens 200] [--id 0.2]
The tasks are those of drafts.py; stories have the temperature 0.8. `--id`: what an id of a draft costs, in passes of
one. Held up: of all passes 3 % take ten times as long, the rest varies by a fifth; counted is what they should take.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from drafts import answer, tasks

import localmix
from localmix.answer.draft import LENGTHS, Drafting
from localmix.answer.gate import Gate
from localmix.answer.lookup import Lookup
from localmix.answer.sampling import Sampler

HELD_UP, TIMES, VARIES, SEEDS = 0.03, 10, 0.2, 5


class Seen(Drafting):
    """Notes the context of each answer."""

    def begin(self, ids: Sequence[int], sampler: Sampler):  # type: ignore[no-untyped-def]
        self.context = list(ids)
        return super().begin(ids, sampler)


def hits(guessed: list[int], ids: list[int], at: int) -> int:
    pairs = enumerate(zip(guessed, ids[at:], strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(guessed), len(ids) - at))


def passes(context: list[int], ids: list[int], each: float, gate: Gate | None, times: Iterator[float]) -> float:
    """What an answer takes, in passes of one. Without a gate: with as many ids as will be taken, if that pays."""
    lookup, taken_in_all, at = Lookup(context), 0.0, 1
    lookup.push(ids[0])
    while at < len(ids):
        most, same = lookup.look(min(LENGTHS[-1], len(ids) - at - 1))
        length = gate.length(same, most) if gate and most else 0
        guessed = lookup.guess(most if gate is None else length) if most else []
        taken = hits(guessed, ids, at)
        if gate is None and (length := taken) * each > taken:
            taken = length = 0
        cost = 1 + each * length
        if gate is not None:
            gate.learn(same, length, taken, cost * next(times))
        taken_in_all += cost
        for id in ids[at : at + taken + 1]:
            lookup.push(id)
        at += taken + 1
    return taken_in_all


def held_up(seed: int, share: float) -> Iterator[float]:
    """How many times as long a pass takes as it should."""
    rng = np.random.default_rng(seed)
    while True:
        yield (TIMES if rng.random() < share else 1) * float(np.exp(rng.normal(0, VARIES))) if share else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--text", type=Path, action="append")
    parser.add_argument("--passages", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--id", type=float, default=0.2)
    a = parser.parse_args()
    model = localmix.load(a.model, "numba", draft="lookup")
    model.drafting = seen = Seen()
    found: dict[str, list[tuple[list[int], list[int]]]] = {}
    for kind, prompt in tasks(a.text or [Path(__file__).parents[2] / "README.md"], a.passages):
        ids = list(answer(model, kind, prompt, 0.8 if kind == "story" else 0.0, a.tokens).ids)
        if len(ids) > 20:
            found.setdefault(kind, []).append((seen.context, ids))
    print(f"an id {a.id:g} of a pass: times the speed without drafts, medians and extremes")
    print(f"{'task':>10} {'held up':>20} {'not held up':>20} {'knowing the ids':>20}")
    for kind, answers in found.items():
        columns = []
        for share, seeds, knows in ((HELD_UP, SEEDS, False), (0.0, 1, False), (0.0, 1, True)):
            some = list[float]()
            for seed in range(seeds):
                times = held_up(seed, share)
                for context, ids in answers:
                    gate = None if knows else Gate()
                    some.append((len(ids) - 1) / passes(context, ids, a.id, gate, times))
            columns.append(f"{median(some):8.2f} {min(some):5.2f} {max(some):5.2f}")
        print(f"{kind:>10} {' '.join(columns)}", flush=True)


if __name__ == "__main__":
    main()
