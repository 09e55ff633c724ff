"""Times localmix and llama.cpp in turn on one file: A B A B, same threads, same random tokens, and prints ratios.

By hand, on a quiet machine, in an environment that has both localmix and llama-cpp-python (built natively):
    python tests/peers/speed.py MODEL.gguf [--prompts 32,128,512] [--decode 64] [--depths 0] [--batches 1] [-t 2]
                                [--bench PATH/llama-bench]
llama.cpp runs with the best of its own settings, found first: mapped or not, flash attention on or off, ubatch 512
or 2048. Each figure is the median over the rounds, each round times both programs once. "of bound": the share of the
bytes a second that this machine reads, measured in turn with every few tokens, that decoding reads of weights and
cache. At depths caches hold something made up (repeated.py). --bench names the llama-bench of ik_llama.cpp, or of
another llama.cpp, which comes third: the better of the file as it is and repacked, in a process of its own; its ratio
is to localmix's speed just before and just after.
"""

import argparse
import ctypes
import itertools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import llama_cpp
import numpy as np
import repeated

import localmix
from localmix.engine.batch import Batch
from localmix.measure import bandwidth, bench, inventory
from localmix.measure.beside import Beside, Step, seconds

Timed = Callable[[Step, int], float]


class Peer:
    """llama.cpp through its own low-level calls, in one setting."""

    def __init__(self, path: str, threads: int, context: int, setting: tuple[bool, bool, int], sequences: int) -> None:
        mapped, flash, ubatch = setting
        self._flash = flash
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        load = llama_cpp.llama_model_default_params()
        load.use_mmap, load.n_gpu_layers = mapped, 0
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), load)
        run = llama_cpp.llama_context_default_params()
        run.n_ctx, run.n_batch, run.n_ubatch = context * sequences, 2048, ubatch
        run.n_threads = run.n_threads_batch = threads
        run.n_seq_max = sequences
        run.flash_attn_type = 1 if flash else 0
        self._context = llama_cpp.llama_init_from_model(self._model, run)
        self._memory = llama_cpp.llama_get_memory(self._context)

    def close(self) -> None:
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def decode(self, rows: list[tuple[int, int, int]], wanted: set[int]) -> None:
        """One batch of (token, position, sequence) rows; logits of the wanted ones."""
        batch = llama_cpp.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, i in wanted
        assert llama_cpp.llama_decode(self._context, batch) == 0
        llama_cpp.llama_synchronize(self._context)
        llama_cpp.llama_batch_free(batch)

    def prompt(self, ids: list[int], depth: int) -> float:
        llama_cpp.llama_memory_seq_rm(self._memory, 0, depth, -1)
        began = time.perf_counter()
        for at in range(0, len(ids), 2048):
            rows = [(token, depth + at + i, 0) for i, token in enumerate(ids[at : at + 2048])]
            self.decode(rows, {len(rows) - 1})
        return len(ids) / (time.perf_counter() - began)

    def generate(self, ids: np.ndarray, depth: int, timed: Timed = seconds) -> float:
        steps, batch = ids.shape
        for sequence in range(batch):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, depth, -1)

        def step(i: int) -> None:
            self.decode([(int(ids[i, s]), depth + i, s) for s in range(batch)], set(range(batch)))

        return steps * batch / timed(step, steps)

    def fill(self, depth: int) -> None:
        rng, read = np.random.default_rng(0), min(depth, 512) if self._flash else depth
        for at in range(0, read, 512):
            self.prompt(rng.integers(3, 1000, min(512, read - at)).tolist(), at)
        if depth > read:
            repeated.fill(self._context, read, depth)


class Ours:
    """localmix."""

    def __init__(self, path: str, threads: int) -> None:
        self.model = localmix.load(path, backend="numba", threads=threads)
        self._cache = self.model.engine.cache()
        self._filled: dict[int, int] = {}

    def _at(self, depth: int) -> int:
        if depth not in self._filled:
            self._filled[depth] = self._cache.new()
            self._cache.fill(self._filled[depth], depth)
        return self._cache.share(self._filled[depth], depth)

    def read(self, depth: int, steps: int) -> float:
        """Bytes that a token reads, in the middle of so many steps."""
        seen = bench.seen(self.model, depth + steps / 2)
        return inventory.take(self.model.file).read + seen * self._cache.position_bytes

    def prompt(self, ids: list[int], depth: int) -> float:
        sequence = self._at(depth)
        began = time.perf_counter()
        for at in range(0, len(ids), self.model.engine.chunk):
            self.model.engine.forward(
                Batch.of([(sequence, depth + at, ids[at : at + self.model.engine.chunk])]), self._cache
            )
        took = time.perf_counter() - began
        self._cache.free(sequence)
        return len(ids) / took

    def generate(self, ids: np.ndarray, depth: int, timed: Timed = seconds) -> float:
        steps, batch = ids.shape
        sequences = [self._at(depth) for _ in range(batch)]

        def step(i: int) -> None:
            parts = [(s, depth + i, [int(ids[i, j])]) for j, s in enumerate(sequences)]
            self.model.engine.forward(Batch.of(parts), self._cache)

        took = timed(step, steps)
        for sequence in sequences:
            self._cache.free(sequence)
        return steps * batch / took


class Third:
    """A llama-bench program. ik_llama.cpp's repacks with -rtr 1 what others repack with --repack 1."""

    def __init__(self, program: str, path: str, threads: int) -> None:
        self._command = [program, "-m", path, "-t", str(threads), "-o", "json"]
        said = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
        self._repack = "-rtr" if "-rtr" in said else "--repack"

    def speed(self, size: int | tuple[int, int], depth: int) -> float:
        """Tokens a second; 0 for what it does not measure: several sequences, and of ik_llama.cpp also depths."""
        if (not isinstance(size, int) and size[1] > 1) or (depth and self._repack == "-rtr"):
            return 0.0
        test = ["-p", str(size), "-n", "0"] if isinstance(size, int) else ["-p", "0", "-n", str(size[0])]
        runs = "1" if isinstance(size, int) and size > 2048 else "3"
        deep = ["-d", str(depth)] if depth else []
        found = []
        for repacked in ("0", "1"):
            command = [*self._command, *test, *deep, "-r", runs, self._repack, repacked]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout)[0]["avg_ts"])
        return max(found)


def best_setting(path: str, threads: int, context: int, quick: bool) -> tuple[bool, bool, int]:
    """The fastest of llama.cpp's settings for a prompt of 512 and eight tokens after it."""
    if quick:
        return True, True, 512
    speeds = {}
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 1000, 520)
    for setting in itertools.product((True, False), (True, False), (512, 2048)):
        peer = Peer(path, threads, min(context, 1024), setting, 1)
        peer.prompt(ids[:32].tolist(), 0)
        prompt = peer.prompt(ids[:512].tolist(), 0)
        decode = max(peer.generate(ids[512:, None], 512) for _ in range(2))
        peer.close()
        speeds[setting] = prompt * decode
        print(f"llama.cpp mapped {setting[0]}, flash {setting[1]}, ubatch {setting[2]}: {prompt:.1f} / {decode:.1f}")
    return max(speeds, key=speeds.__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", default="32,128,512")
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--depths", default="0")
    parser.add_argument("--batches", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="llama.cpp mapped, flash attention, ubatch 512")
    parser.add_argument("--bench", help="the llama-bench of ik_llama.cpp, or another")
    parser.add_argument("-t", "--threads", type=int, default=2)
    a = parser.parse_args()
    prompts, depths, batches = ([int(n) for n in text.split(",") if n] for text in (a.prompts, a.depths, a.batches))
    context = max(depths) + max([*prompts, a.decode]) + 64
    setting = best_setting(a.model, a.threads, context, a.quick)
    ours, theirs = Ours(a.model, a.threads), Peer(a.model, a.threads, context, setting, max(batches))
    print(f"{a.model}: {a.threads} threads, {ours.model.backend.isa}; llama.cpp {llama_cpp.__version__} {setting}")
    third = Third(a.bench, a.model, a.threads) if a.bench else None
    head = f"{'test':>16} {'localmix':>9} {'of bound':>8} {'llama.cpp':>9} {'of bound':>8} {'ratio':>6}"
    print(head + f" {'third':>9} {'ratio':>6}" * bool(third))
    with bandwidth.probing(Path(a.model), a.threads) as bound:
        compare(a, ours, theirs, third, bound)


def compare(a: argparse.Namespace, ours: Ours, theirs: Peer, third: Third | None, bound: bandwidth.Probe) -> None:
    """Every test in turn, a line each."""
    prompts, depths, batches = ([int(n) for n in text.split(",") if n] for text in (a.prompts, a.depths, a.batches))
    vocabulary, rng = ours.model.network.vocabulary, np.random.default_rng(0)
    for depth in depths:
        theirs.fill(depth)
        tests: list[tuple[str, Any]] = [(f"pp{n}", n) for n in prompts]
        tests += [(f"tg{a.decode} b{b}", (a.decode, b)) for b in batches]
        for name, size in tests:
            ids = rng.integers(3, vocabulary, size)
            rounds, beside = [], [Beside(bound, ours.read(depth, a.decode)) for _ in range(2)]
            for _ in range(a.rounds + 1):
                if isinstance(size, int):
                    rounds.append((ours.prompt(ids.tolist(), depth), theirs.prompt(ids.tolist(), depth)))
                else:
                    ways = [b.seconds if size[1] == 1 else seconds for b in beside]
                    rounds.append((ours.generate(ids, depth, ways[0]), theirs.generate(ids, depth, ways[1])))
            one, two = (median(one[i] for one in rounds[1:]) for i in range(2))  # the first round warms up
            shares = [f"{median(b.shares[1:]):.0%}" if b.shares else "" for b in beside]
            line = f"{name + f' @{depth}':>16} {one:9.1f} {shares[0]:>8} {two:9.1f} {shares[1]:>8} {one / two:6.2f}"
            if third:
                again = ours.prompt(ids.tolist(), depth) if isinstance(size, int) else ours.generate(ids, depth)
                speed = third.speed(size, depth)
                own = ours.prompt(ids.tolist(), depth) if isinstance(size, int) else ours.generate(ids, depth)
                line += f" {speed:9.1f} {(again + own) / 2 / speed:6.2f}" if speed else ""
            print(line, flush=True)


if __name__ == "__main__":
    main()
