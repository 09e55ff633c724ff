"""How fast this machine reads a mapped file: the bound of decoding.

The best of several probes, streams times prefetch distance, with the threads that the model runs on: a plain loop
shows little more than half of what can be had, and a share of a weak probe means nothing.
"""

import mmap
import tempfile
import time
from pathlib import Path

import numpy as np

from localmix.backends.numba import native
from localmix.backends.numba.layout import LINE, PROBE
from localmix.backends.numba.team import Team

ENOUGH = 1 << 30  # bytes: far more than the last-level cache, also where a machine shares it with others
REPEATS = 3
PROBES = [(streams, ahead) for streams in (1, 2, 4) for ahead in (0, 1024, 4096, 8192)]


def measure(path: Path | None, threads: int) -> float:
    """Bytes a second from a mapped file: from `path` if it is large enough, else from a temporary one."""
    if path is not None and path.stat().st_size >= ENOUGH:
        with path.open("rb") as file:
            return _measure(file.fileno(), threads)
    with tempfile.TemporaryFile() as file:
        block = np.random.default_rng(0).integers(0, 256, 1 << 24, np.uint8).tobytes()
        for _ in range(ENOUGH // len(block)):
            file.write(block)
        file.flush()
        return _measure(file.fileno(), threads)


def _measure(descriptor: int, threads: int) -> float:
    team, kernel = Team(threads), native.address("probe.read")
    counters, results = np.zeros(64, np.int64), np.zeros(threads * 8, np.int64)
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
        data = np.frombuffer(mapped, np.uint8)
        probe = np.zeros((), PROBE)
        probe["start"], probe["size"] = data.ctypes.data, min(data.size, ENOUGH)
        probe["counters"], probe["result"] = -(-counters.ctypes.data // LINE) * LINE, results.ctypes.data
        best = 0.0
        for _ in range(REPEATS):
            for probe["streams"], probe["ahead"] in PROBES:
                counters[:] = 0
                start = time.perf_counter()
                team.run(kernel, probe.ctypes.data)
                best = max(best, int(probe["size"]) / (time.perf_counter() - start))
        del data
    return best
