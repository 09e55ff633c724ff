"""A persistent team of threads that run one forward pass together.

The calling thread and N - 1 Python threads, which spin for a moment after a pass, so that the next token finds them
awake, and then sleep on a lock. No OpenMP, no TBB: nothing to install, safe after fork (the team is made anew), and
nobody waits for a thread that has not come (see parts.py).
"""

import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np

from localmix.backends.numba.machine import native
from localmix.backends.numba.passes.records import TEAM, fields_of, offset

AWAKE = 0.002  # seconds before a worker sleeps: the time between two tokens and more
_KERNEL, _ARGUMENT = (offset(TEAM, name) // 8 for name in ("kernel", "argument"))
_TRIAL = 1000  # turns of a wait that are timed: processors pause for 10 to 50 ns


class _Crew:
    """What a team's workers work on: not the team, so that they end when nobody has the team any more."""

    def __init__(self, record: np.ndarray, workers: int) -> None:
        self.record = record
        self.asleep = [False] * workers
        self.bells = [threading.Lock() for _ in range(workers)]
        self.dismissed = False
        for bell in self.bells:
            bell.acquire()

    def wake(self) -> None:
        for i, bell in enumerate(self.bells):
            if self.asleep[i]:
                self.asleep[i] = False
                bell.release()

    def dismiss(self) -> None:
        """Every worker returns once it is awake."""
        self.dismissed = True
        for bell in self.bells:
            if bell.locked():
                bell.release()


def _work(crew: _Crew, serve: Callable[..., int], i: int) -> None:
    """The life of worker i: serve until there is nothing to do for a while, then sleep."""
    address, epochs = crew.record.ctypes.data, crew.record["epoch"]
    while not crew.dismissed:
        epoch = int(epochs[0])  # read before: a pass may begin while this thread, which has given up, waits to run on
        serve(address, i + 1)
        crew.asleep[i] = True
        if epoch != int(epochs[0]) and crew.asleep[i]:
            crew.asleep[i] = False
            continue
        crew.bells[i].acquire()


class Team:
    """Runs a kernel of (argument, thread) on `threads` threads at once. Not re-entrant: callers hold a lock."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._record = np.zeros(1, TEAM)
        self._fields = fields_of(self._record)
        self._address = self._record.ctypes.data
        self._serve = native.function("passes.worker.serve", 2)
        self._lead = native.function("passes.worker.lead", 2)
        self._process = 0
        self._crew = _Crew(self._record, 0)
        if threads > 1:
            self._record["patience"] = _TRIAL
            self._record["patience"] = _TRIAL * AWAKE / min(self._wait() for _ in range(3))

    def run(self, kernel: int, argument: int) -> None:
        """Returns when the kernel has run on every thread that joined."""
        if self._process != os.getpid():
            self._start()
        self._fields[_KERNEL], self._fields[_ARGUMENT] = kernel, argument
        self._crew.wake()
        self._lead(self._address, 0)

    def _wait(self) -> float:
        """Seconds that a worker waits for nothing."""
        start = time.perf_counter()
        self._serve(self._address, 0)
        return time.perf_counter() - start

    def _start(self) -> None:
        self._process = os.getpid()
        self._record["open"] = self._record["inside"] = 0
        self._crew = _Crew(self._record, self.threads - 1)
        weakref.finalize(self, self._crew.dismiss).atexit = False
        for i in range(self.threads - 1):
            work = threading.Thread(target=_work, args=(self._crew, self._serve, i), name=f"localmix-{i + 1}")
            work.daemon = True
            work.start()


def yield_address() -> int:
    """The C function that gives the processor to another thread, or 0."""
    if sys.platform == "win32":
        return 0
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0


def processors() -> int:
    """Physical cores that this process may use: affinity, container quota and hyper-threads counted."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([available, *(count() for count in _LIMITS)]))


def _cores() -> int:
    """Physical cores: as many as there are different (package, core) pairs among the allowed processors."""
    if sys.platform == "darwin":
        return _darwin_cores()
    try:
        pairs = set()
        for cpu in os.sched_getaffinity(0):
            folder = f"/sys/devices/system/cpu/cpu{cpu}/topology/"
            with open(folder + "physical_package_id") as package, open(folder + "core_id") as core:
                pairs.add((package.read(), core.read()))
        return len(pairs)
    except (OSError, AttributeError):
        return os.cpu_count() or 1


def _darwin_cores() -> int:
    """Performance cores where there are two kinds."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):
        if ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0) == 0:
            return value.value
    return os.cpu_count() or 1


def _quota() -> int:
    """Processors that a container's quota pays for, rounded up (control groups, version 2 and 1)."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with (
                open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as one,
                open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as two,
            ):
                quota, period = one.read().strip(), two.read().strip()
        except OSError:
            return 1 << 16
    return 1 << 16 if quota in ("max", "-1") else -(-int(quota) // int(period))


_LIMITS: tuple[Callable[[], int], ...] = (_cores, _quota)
