"""`localmix passkey` against llama.cpp: the same texts, and whether llama.cpp's greedy answer gives the key.

By hand, in an environment that has localmix and llama-cpp-python:

    python tests/peers/passkeys.py MODEL.gguf [--lengths 256,512,1024,2048,4096,8192] [--depths 3] [--keys 2]

Told are both tables, in how many texts the two differ, and the largest difference of a key's log-probability.
"""

import argparse

import llama_cpp
import numpy as np

import localmix
from localmix.measure import passkey
from localmix.measure.likelihood import nats_of
from localmix.measure.scoring import Scorer


class LlamaCpp:
    """A context of llama.cpp that keeps what two texts in a row share."""

    def __init__(self, path: str, context: int, threads: int) -> None:
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch = context, 512
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self._size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._ids: list[int] = []

    def logits(self, ids: list[int], first: int) -> np.ndarray:
        """Logits after each of `ids` from `first` on."""
        same = next((i for i, (a, b) in enumerate(zip(self._ids, ids, strict=False)) if a != b), len(self._ids))
        same = min(same, first, len(ids))
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), 0, same, -1)
        rows = []
        for at in range(same, len(ids), 512):
            part = ids[at : at + 512]
            batch = llama_cpp.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for i, token in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, at + i, 1, 0
                batch.logits[i] = at + i >= first
            assert llama_cpp.llama_decode(self._context, batch) == 0
            for i in range(max(first - at, 0), len(part)):
                row = llama_cpp.llama_get_logits_ith(self._context, i)
                rows.append(np.ctypeslib.as_array(row, (self._size,)).copy())
            llama_cpp.llama_batch_free(batch)
        self._ids = ids
        return np.stack(rows)


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
