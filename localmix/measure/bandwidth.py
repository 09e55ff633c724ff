"""How fast this machine reads a mapped file: the bound of decoding.

The best of several probes, streams times prefetch distance, with the threads that the model runs on: a plain loop
shows little more than half of what can be had, and a share of a weak probe means nothing.
"""

import mmap
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from localmix.backends.numba.machine import native
from localmix.backends.numba.passes.records import LINE, PROBE
from localmix.backends.numba.passes.team import Team

ENOUGH = 1 << 30  # bytes: far more than the last-level cache, also where a machine shares it with others
REPEATS = 3
Probe = Callable[[], float]
PROBES = [(streams, ahead) for streams in (1, 2, 4) for ahead in (0, 1024, 4096, 8192)]


def measure(path: Path | None, threads: int) -> float:
    """Bytes a second from a mapped file, at best: `path` if it is large enough, else a temporary one."""
    with probing(path, threads) as probe:
        return max(probe() for _ in range(REPEATS))


@contextmanager
def probing(path: Path | None, threads: int) -> Iterator[Probe]:
    """Reads of `path` (or a temporary file, if that is too small) as fast as they go: bytes a second, at each call.

    For what is measured beside it: a machine that others use too reads now faster, now slower.
    """
    if path is not None and path.stat().st_size >= ENOUGH:
        with path.open("rb") as mapped, _mapped(mapped.fileno(), threads) as probe:
            yield probe
        return
    with tempfile.TemporaryFile() as file:
        block = np.random.default_rng(0).integers(0, 256, 1 << 24, np.uint8).tobytes()
        for _ in range(ENOUGH // len(block)):
            file.write(block)
        file.flush()
        with _mapped(file.fileno(), threads) as probe:
            yield probe


@contextmanager
def _mapped(descriptor: int, threads: int) -> Iterator[Probe]:
    team, kernel = Team(threads), native.address("machine.probe.read")
    counters, results = np.zeros(64, np.int64), np.zeros(threads * 8, np.int64)
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
        data = np.frombuffer(mapped, np.uint8)
        record = np.zeros((), PROBE)
        record["start"], record["size"] = data.ctypes.data, min(data.size, ENOUGH)
        record["counters"], record["result"] = -(-counters.ctypes.data // LINE) * LINE, results.ctypes.data

        def read(streams: int, ahead: int) -> float:
            record["streams"], record["ahead"] = streams, ahead
            counters[:] = 0
            start = time.perf_counter()
            team.run(kernel, record.ctypes.data)
            return int(record["size"]) / (time.perf_counter() - start)

        rates = {probe: max(read(*probe) for _ in range(REPEATS)) for probe in PROBES}
        best = max(rates, key=rates.__getitem__)
        yield lambda: read(*best)
        del data
