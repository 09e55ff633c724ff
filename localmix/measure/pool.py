"""How often a pool of experts in memory would have had what a text asks for, policy by policy.

One pool for all layers, which begins empty. A step is a layer of a token, in decoding order: its experts are wanted
together, and none of them makes room for another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.measure.routing import Trace
from localmix.stream.uses import HALF_LIFE
from quant.jit import kernel

Steps = NDArray[np.int32]  # (S, A) of experts 0 to N - 1
Worth = NDArray[np.float64]  # (S, A) of each use: the expert whose last use is worth least makes room
Policy = Callable[[Steps, int, int], Worth]  # from steps, N, and how many of them a token takes


@dataclass(frozen=True)
class Rates:
    """What a pool of `bytes` would do: the share of uses that it `hits` and the bytes to `read` a token, by policy."""

    bytes: int
    slots: int
    experts: int  # in all layers
    hits: dict[str, float]
    read: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"bytes": self.bytes, "slots": self.slots, "hits": self.hits, "bytes_read_per_token": self.read}


def simulate(trace: Trace, size: int, expert: int) -> Rates:
    """A pool of `size` bytes whose slots hold one expert of `expert` bytes each."""
    experts = len(trace.layers) * trace.experts
    slots = min(size // expert, experts)
    found = hits(trace, slots)
    uses = len(trace.layers) * trace.active * expert
    return Rates(size, slots, experts, found, {policy: (1 - hit) * uses for policy, hit in found.items()})


def steps(trace: Trace) -> Steps:
    """The experts (T · L, A) of each step, numbered over all layers: layer l's are l · E and on."""
    first = np.arange(len(trace.layers), dtype=np.int32)[:, None, None] * trace.experts
    return np.ascontiguousarray((trace.chosen + first).swapaxes(0, 1)).reshape(-1, trace.active)


def hits(trace: Trace, slots: int) -> dict[str, float]:
    """The share of uses that find their expert among the `slots` in memory, for each policy.

    `pinned` holds those that this text uses most and never changes; like `best possible` (Belady's rule: who is
    wanted last makes room) it knows the text beforehand, which no program does.
    """
    wanted, experts = steps(trace), len(trace.layers) * trace.experts
    slots = min(slots, experts)
    used = np.sort(np.bincount(wanted.ravel(), minlength=experts))[::-1]
    found = {}
    for name, policy in POLICIES.items():
        worth = policy(wanted, experts, len(trace.layers))
        found[name] = _simulate(wanted, worth, slots, experts) / wanted.size if slots >= trace.active else 0.0
    return found | {"pinned": float(used[:slots].sum() / wanted.size)}


def _lru(wanted: Steps, experts: int, layers: int) -> Worth:
    """When it was used; within a step the one of most weight last."""
    active = wanted.shape[1]
    return np.arange(len(wanted))[:, None] + np.arange(active)[::-1] / active


def _lfu(wanted: Steps, experts: int, layers: int) -> Worth:
    """Uses so far, also of what was out of memory; among equals who was used longer ago makes room."""
    return _counted(wanted, experts) + _lru(wanted, experts, layers) / (2 * len(wanted))


def _fading(wanted: Steps, experts: int, layers: int) -> Worth:
    """Uses, each worth half of one HALF_LIFE later; as logarithms, whose order stays while nothing is used."""
    return _faded(wanted, experts, 1 / (HALF_LIFE * layers))


def _belady(wanted: Steps, experts: int, layers: int) -> Worth:
    return _until_next(wanted, experts)


POLICIES: Mapping[str, Policy] = {"LRU": _lru, "LFU": _lfu, "LFU, fading": _fading, "best possible": _belady}


@kernel
def _counted(wanted: Steps, experts: int) -> Worth:
    found, seen = np.empty(wanted.shape, np.float64), np.zeros(experts, np.int64)
    for s in range(wanted.shape[0]):
        for a in range(wanted.shape[1]):
            seen[wanted[s, a]] += 1
            found[s, a] = seen[wanted[s, a]]
    return found


@kernel
def _faded(wanted: Steps, experts: int, rate: float) -> Worth:
    found, worth = np.empty(wanted.shape, np.float64), np.full(experts, -np.inf)
    for s in range(wanted.shape[0]):
        now = s * rate
        for a in range(wanted.shape[1]):
            e = wanted[s, a]
            worth[e] = now + np.log2(1 + 2 ** (worth[e] - now))
            found[s, a] = worth[e]
    return found


@kernel
def _until_next(wanted: Steps, experts: int) -> Worth:
    found, coming = np.empty(wanted.shape, np.float64), np.full(experts, np.inf)
    for s in range(wanted.shape[0] - 1, -1, -1):
        for a in range(wanted.shape[1]):
            found[s, a] = -coming[wanted[s, a]]
            coming[wanted[s, a]] = s
    return found


@kernel
def _simulate(wanted: Steps, worth: Worth, slots: int, experts: int) -> int:
    """Uses that found their expert in memory. A heap of those there, the one of least worth on top."""
    heap, place = np.empty(slots, np.int64), np.full(experts, -1)
    key = np.empty(experts, np.float64)
    filled, found = 0, 0
    for s in range(wanted.shape[0]):
        for a in range(wanted.shape[1]):  # what the step wants stays, whatever it is worth
            e = wanted[s, a]
            if place[e] >= 0:
                found += 1
                key[e] = np.inf
                _settle(heap, place, key, place[e], filled)
        for a in range(wanted.shape[1]):
            e = wanted[s, a]
            if place[e] >= 0:
                continue
            at = filled if filled < slots else 0
            if filled < slots:
                filled += 1
            else:
                place[heap[0]] = -1
            heap[at], place[e], key[e] = e, at, np.inf
            _settle(heap, place, key, at, filled)
        for a in range(wanted.shape[1]):
            e = wanted[s, a]
            key[e] = worth[s, a]
            _settle(heap, place, key, place[e], filled)
    return found


@kernel
def _settle(heap: NDArray[np.int64], place: NDArray[np.int64], key: Worth, at: int, filled: int) -> None:
    """Bring the one at a place of the heap where its key belongs."""
    while at > 0 and key[heap[(at - 1) // 2]] > key[heap[at]]:
        up = (at - 1) // 2
        heap[at], heap[up] = heap[up], heap[at]
        place[heap[at]], place[heap[up]] = at, up
        at = up
    while True:
        least = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < filled and key[heap[child]] < key[heap[least]]:
                least = child
        if least == at:
            return
        heap[at], heap[least] = heap[least], heap[at]
        place[heap[at]], place[heap[least]] = at, least
        at = least
