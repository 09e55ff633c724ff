"""More model than memory: experts streamed from the disk beside the same file mapped, under a hard limit on memory.

By hand, as root, on Linux with control groups, on a file whose pages nobody else uses:
    python tests/peers/streaming.py MIXTRAL-SHAPED.gguf [--limits 1600M,2300M,3000M] [--rounds 3]
        [--sides streamed,mapped,llama]
Each round runs every program once at every limit, each in a process of its own in a group whose limit counts the page
cache, the file's pages dropped before. Decoding: tokens after the first four, random ids; then a prompt. The bound is
the larger of bytes read over what the same readers give where nothing is computed (before the first of these tokens and
after the last), and the time of computing. llama.cpp, where it is installed and asked for, maps the file and repacks
nothing (repacked it needs all of it in memory of its own).
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

COLD = 4  # tokens that are not counted
PATIENCE = 240  # seconds for one program
SIDES = ("streamed", "mapped", "llama")
# What runs some tokens; what gives bytes read, hits, experts wanted, seconds of reading, of waiting for it and of
# computing so far, of a pool; and what measures the disk, in bytes a second.
Program = tuple[Callable[[list[int]], Any], Callable[[], list[float]], Callable[[], float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--limits", default="1600M,2300M,3000M")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--skewed", action="store_true", help="ids of few kinds, which choose few experts")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--sides", default="streamed,mapped", help="also llama")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # the child's
    a = parser.parse_args()
    if a.side:
        print(json.dumps(measure(a)))
        return
    sides = a.sides.split(",")
    for limit in a.limits.split(","):
        found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(a.rounds):
            for side in sides:
                row = limited(limit, [sys.executable, __file__, *sys.argv[1:], "--side", side], a.file)
                print(f"{limit} {side}: {json.dumps(row)}", flush=True)
                found[side].append(row)
        report(limit, found)


def report(limit: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and ratios of medians."""
    middle = {
        side: {key: median(row[key] for row in rows if key in row) for key in rows[0] if all(key in r for r in rows)}
        for side, rows in found.items()
        if all("decode" in row for row in rows)
    }
    for side, row in middle.items():
        print(f"{limit} {side}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    for side in middle.keys() - {"streamed"} if "streamed" in middle else ():
        for what in ("decode", "prompt"):
            print(f"{limit} {what}: {middle['streamed'][what] / middle[side][what]:.2f} times {side}")


def limited(limit: str, command: list[str], file: Path) -> dict[str, float]:
    """What the command prints, run under a hard limit, and its peak; `killed` where it was."""
    drop(file)
    with group(limit) as (enter, usage):
        done = subprocess.run(command, stdout=subprocess.PIPE, preexec_fn=enter, check=False, text=True)
        peak, killed = usage()
    row: dict[str, float] = json.loads(done.stdout) if done.returncode == 0 else {"failed": done.returncode}
    return row | {"peak_mb": peak / 1e6, "killed": killed}


@contextmanager
def group(limit: str) -> Iterator[tuple[Callable[[], None], Callable[[], tuple[int, int]]]]:
    """A control group: what enters it, and its peak in bytes with how often it was killed in."""
    rows = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = {controllers: path for _, controllers, path in rows}
    first = "memory" in own
    root = Path("/sys/fs/cgroup", "memory" if first else "", (own.get("memory") or own[""]).strip("/"))
    folder = root / f"limited-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(limit)

        def enter() -> None:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

        def usage() -> tuple[int, int]:
            peak = int((folder / ("memory.max_usage_in_bytes" if first else "memory.peak")).read_text())
            events = (folder / ("memory.oom_control" if first else "memory.events")).read_text().split()
            return peak, int(events[events.index("oom_kill") + 1])

        yield enter, usage
    finally:
        time.sleep(0.2)
        folder.rmdir()


def drop(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def measure(a: argparse.Namespace) -> dict[str, float]:
    """In the child: tokens a second of decoding and of a prompt, and what was read for them."""
    signal.alarm(PATIENCE)
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, 30000, 6 if a.skewed else 30000)
    ids, prompt = (kinds[rng.integers(0, len(kinds), count)].tolist() for count in (a.tokens, a.prompt))
    run, inside, disk = llama(a) if a.side == "llama" else localmix(a)
    run(kinds[:9].tolist())  # kernels are loaded
    run(kinds[:1].tolist())
    found: dict[str, float] = {}
    for name, parts in (("decode", [[token] for token in ids]), ("prompt", [prompt])):
        cold = COLD if name == "decode" else 0
        fastest = disk()
        for part in parts[:cold]:  # also brings back what the disk's measuring has put out
            run(part)
        before, read, began = inside(), own_reads(), time.perf_counter()
        for part in parts[cold:]:
            run(part)
        taken, now = time.perf_counter() - began, inside()
        found |= {name: sum(map(len, parts[cold:])) / taken, f"{name}_read_gb": (own_reads() - read) / 1e9}
        if a.side == "streamed":
            fastest = (fastest + disk()) / 2
            missed, hits, wanted, busy, waited, computing = (b - a for a, b in zip(before, now, strict=True))
            reading = missed / fastest
            found |= {f"{name}_disk_busy": busy / taken, f"{name}_waiting": waited / taken}
            found |= {f"{name}_hits": hits / wanted, f"{name}_disk_gbs": fastest / 1e9}
            found |= {f"{name}_reading": reading / taken, f"{name}_computing": computing / taken}
            found[f"{name}_of_bound"] = max(reading, computing) / taken
    return found


def own_reads() -> int:
    """Bytes that this process had read from the disk."""
    return int(re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[1])  # type: ignore[index]


def localmix(a: argparse.Namespace) -> Program:
    import localmix
    from localmix.backends.numba.passes.team import Team
    from localmix.engine.context import Context
    from localmix.stream import probe

    spent, call = [0.0], Team.run

    def timed(self: Team, kernel: int, argument: int) -> None:
        began = time.perf_counter()
        call(self, kernel, argument)
        spent[0] += time.perf_counter() - began

    Team.run = timed  # type: ignore[method-assign]
    model = localmix.load(a.file, "numba", a.threads, ram=1 << 50 if a.side == "mapped" else None)
    context, pool = Context(model.engine, 1024), model.place.pool
    assert (pool is None) == (a.side == "mapped"), "the limit has room for all of the model"

    def inside() -> list[float]:
        if pool is None:
            return []
        counts = pool.counts
        return [counts.bytes_read, counts.hits, counts.wanted, counts.reading, counts.waited, spent[0]]

    return context.advance, inside, lambda: 0.0 if pool is None else probe.rate(pool)


def llama(a: argparse.Namespace) -> Program:
    import llama_cpp.llama_cpp as low
    from llama_cpp import Llama

    default = low.llama_model_default_params

    def plain() -> Any:
        found = default()
        found.use_extra_bufts = False
        return found

    low.llama_model_default_params = plain
    how = {"n_threads": a.threads, "n_threads_batch": a.threads, "flash_attn": True, "use_mmap": True, "verbose": False}
    return Llama(str(a.file), n_ctx=1024, n_batch=512, n_ubatch=512, **how).eval, list, float


if __name__ == "__main__":
    main()
