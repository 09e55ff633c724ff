"""A pool of experts simulated, against the same by the letter of each policy."""

from itertools import pairwise

import numpy as np
import pytest

from localmix.measure import pool
from localmix.measure.routing import Trace
from localmix.stream.uses import HALF_LIFE

RANDOM = np.random.RandomState(4)
LAYERS, TOKENS, EXPERTS, ACTIVE = 3, 120, 6, 2


def random_trace() -> Trace:
    """Skewed, so that policies differ."""
    weight = np.array([8, 5, 3, 2, 1, 1]) / 20
    chosen = [[RANDOM.choice(EXPERTS, ACTIVE, False, weight) for _ in range(TOKENS)] for _ in range(LAYERS)]
    zeros = np.zeros(TOKENS, np.int32)
    return Trace("random", EXPERTS, tuple(range(LAYERS)), zeros, zeros, np.array(chosen, np.int16))


TRACE = random_trace()


def by_the_letter(policy: str, slots: int) -> float:
    """Hits as a share. Who makes room is looked for among all that are there and not wanted now."""
    wanted = [[int(e) + EXPERTS * s for e in TRACE.chosen[s, t]] for t in range(TOKENS) for s in range(LAYERS)]
    held: set[int] = set()
    uses: dict[int, list[float]] = {}  # when; within a step the one of most weight last
    hits = 0
    for now, step in enumerate(wanted):
        hits += len(held & set(step))
        for a, e in enumerate(step):
            uses.setdefault(e, []).append(now + (ACTIVE - 1 - a) / ACTIVE)

        def worth(e: int, now: int = now) -> tuple[float, ...]:
            if policy == "LRU":
                return (uses[e][-1],)
            if policy == "LFU":
                return (len(uses[e]), uses[e][-1])
            if policy == "LFU, fading":
                return (sum(0.5 ** ((now - int(use)) / (HALF_LIFE * LAYERS)) for use in uses[e]),)
            return (-next((i for i in range(now + 1, len(wanted)) if e in wanted[i]), np.inf),)

        for e in step:
            if e not in held:
                if len(held) == slots:
                    held.remove(min(held - set(step), key=worth))
                held.add(e)
    return hits / (len(wanted) * ACTIVE)


@pytest.mark.parametrize("slots", [2, 5, 9, 17, 18])
def test_policies(slots: int) -> None:
    found = pool.hits(TRACE, slots)
    for policy in pool.POLICIES:
        close = 0.01 if policy == "LFU, fading" else 1e-9  # of equal worth the last bit decides
        assert found[policy] == pytest.approx(by_the_letter(policy, slots), abs=close), policy
    assert max(found[policy] for policy in pool.POLICIES) == found["best possible"]


def test_pinned_are_those_used_most() -> None:
    uses = sorted(TRACE.counts().ravel().tolist(), reverse=True)
    assert pool.hits(TRACE, 4)["pinned"] == pytest.approx(sum(uses[:4]) / sum(uses))


def test_a_pool_for_all_misses_each_expert_once() -> None:
    """And more slots than experts are no better."""
    found, used = pool.hits(TRACE, 18), len(np.unique(pool.steps(TRACE)))
    assert found["LRU"] == pytest.approx(1 - used / (TOKENS * LAYERS * ACTIVE))
    assert pool.hits(TRACE, 400) == found


def test_too_small_for_one_layer() -> None:
    assert {pool.hits(TRACE, 1)[policy] for policy in pool.POLICIES} == {0.0}


def test_more_slots_are_no_worse() -> None:
    for policy in ("LRU", "best possible"):
        rates = [pool.hits(TRACE, slots)[policy] for slots in range(2, 19)]
        assert all(a <= b for a, b in pairwise(rates))
