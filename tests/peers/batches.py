"""Answers 16 prompts of different lengths: one at a time, together, and with llama.cpp's batches, and prints ratios.

By hand, on a quiet machine, in an environment that has both localmix and llama-cpp-python (built natively):
    python tests/peers/batches.py [MODEL.gguf] [-n 64] [-t 2] [--rounds 3]
Greedy. Answers have different lengths too, so that rows join and leave. llama.cpp gets the same prompts in the same
order with the same limits, a place being filled as soon as it is free. End of text is ignored in both, so that both
compute the same number of tokens; how many texts are the same is counted for localmix alone and together.
"""

import argparse
import time
from statistics import median

import numpy as np
from speed import Peer

import localmix
from localmix.answer.batching import Batching, Request
from localmix.answer.options import Options
from localmix.model import Model
from localmix.store.bundled import model_path

ROWS = 16


def requests(model: Model, longest: int, count: int) -> list[Request]:
    """Prompts of 5 to 125 random tokens, answers of half to all of `longest`."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, model.network.vocabulary, 5 + 8 * (i % ROWS)).tolist() for i in range(count)]
    limits = [longest // 2 + longest * (7 * i % ROWS) // (2 * ROWS) for i in range(count)]
    return [
        Request(i, prompt, Options(temp=0, max_tokens=most), continues=True)
        for i, (prompt, most) in enumerate(zip(ids, limits, strict=True))
    ]


def alone(model: Model, wanted: list[Request]) -> tuple[float, list[list[int]]]:
    began, answers = time.perf_counter(), []
    for request in wanted:
        answer = model.generate(request.prompt, **vars(request.options))
        answer.read()
        answers.append(answer.ids)
    return time.perf_counter() - began, answers


def together(model: Model, wanted: list[Request]) -> tuple[float, list[list[int]]]:
    began = time.perf_counter()
    answers = {answer.id: answer.ids for answer in Batching(model, wanted, parallel=ROWS)}
    return time.perf_counter() - began, [answers[request.id] for request in wanted]


def theirs(peer: Peer, wanted: list[Request], vocabulary: int) -> tuple[float, int]:
    """Seconds and tokens of llama.cpp: prompts and single tokens in one batch, as here."""
    import llama_cpp

    began, tokens = time.perf_counter(), 0
    waiting, rows = list(wanted), {}  # sequence: [ids to compute, position, tokens left]
    while waiting or rows:
        for sequence in range(ROWS):
            if sequence not in rows and waiting:
                request = waiting.pop(0)
                llama_cpp.llama_memory_seq_rm(peer._memory, sequence, 0, -1)
                rows[sequence] = [list(request.prompt), 0, request.options.max_tokens]
        batch, last, room = [], {}, 512
        for sequence, (ids, position, _) in sorted(rows.items(), key=lambda row: len(row[1][0])):
            if len(ids) <= room:
                room -= len(ids)
                batch += [(token, position + i, sequence) for i, token in enumerate(ids)]
                last[sequence] = len(batch) - 1
        peer.decode(batch, set(last.values()))
        for sequence, index in last.items():
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(peer._context, index), (vocabulary,))
            row = rows[sequence]
            row[1] += len(row[0])
            row[0], row[2], tokens = [int(logits.argmax())], row[2] - 1, tokens + 1
            if row[2] == 0:
                del rows[sequence]
    return time.perf_counter() - began, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(model_path()))
    parser.add_argument("-n", "--longest", type=int, default=64)
    parser.add_argument("--requests", type=int, default=ROWS)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    model = localmix.load(a.model, "numba", a.threads)
    model.tokenizer.end_ids = frozenset()
    wanted = requests(model, a.longest, a.requests)
    count = sum(request.options.max_tokens or 0 for request in wanted)
    peer = Peer(a.model, a.threads, 128 + a.longest, (True, True, 512), ROWS)
    rates: dict[str, list[float]] = {"one at a time": [], "together": [], "llama.cpp": []}
    same = 0
    for _ in range(a.rounds + 1):
        one, texts = alone(model, wanted)
        many, others = together(model, wanted)
        other, computed = theirs(peer, wanted, model.network.vocabulary)
        assert computed == count == sum(map(len, others))
        same = sum(x == y for x, y in zip(texts, others, strict=True))
        for name, seconds in zip(rates, (one, many, other), strict=True):
            rates[name].append(count / seconds)
    single, batch, peers = (median(values[1:]) for values in rates.values())  # the first round warms up
    print(f"{a.model}: {a.requests} prompts, {count} tokens, {a.threads} threads, {model.backend.isa}")
    print(
        f"one at a time {single:.1f} t/s, together {batch:.1f} t/s ({batch / single:.2f} x), llama.cpp {peers:.1f} t/s"
    )
    print(f"together / llama.cpp {batch / peers:.2f}; the same ids alone and together: {same} of {len(wanted)}")


if __name__ == "__main__":
    main()
