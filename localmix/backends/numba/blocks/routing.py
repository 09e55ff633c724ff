"""Which experts serve a token: see `localmix.network.blocks.Router`."""

from typing import Any

import numpy as np

from localmix.backends.numba.machine.compiler import inner
from localmix.backends.numba.machine.words import exp_f32, load_f32, load_i32, store_f32, store_i32
from localmix.backends.numba.passes.parts import NOTHING, Record, dot, four_dots
from localmix.backends.numba.passes.records import SCORES

SIGMOID = SCORES.index("sigmoid")
ONE = np.float32(1)


@inner
def logits(x: int, m: Record, width: int, first: int, last: int, out: int) -> None:
    """Of the experts first to last (exclusive), into their places in out (E,)."""
    e, row = first, 4 * width
    while e + 4 <= last:
        at = m.router + e * row
        for i, value in enumerate(four_dots(x, at, at + row, at + 2 * row, at + 3 * row, width)):
            _store_logit(m, e + i, value, out)
        e += 4
    while e < last:
        _store_logit(m, e, dot(x, m.router + e * row, width), out)
        e += 1


@inner
def _store_logit(m: Record, e: int, value: float, out: int) -> None:
    store_f32(out + 4 * e, value if m.logits_bias == 0 else value + load_f32(m.logits_bias + 4 * e))


@inner
def choose(x: int, m: Record, width: int, scores: int, keys: int, chosen: int, mix: int) -> None:
    """The slots of a token: chosen int32 and their shares, of the top A experts, and then of the shared one.

    scores (E,) are its logits, keys (E,) is scratch. Without a router expert 0 has all.
    """
    if m.router == 0:
        store_i32(chosen, 0)
        store_f32(mix, ONE)
    else:
        _choose(m, scores, keys, chosen)
        _weigh(m, scores, chosen, mix)
    if m.shared:
        store_i32(chosen + 4 * m.active, m.experts)
        share = ONE if m.shared_gate == 0 else _sigmoid(dot(x, m.shared_gate, width))
        store_f32(mix + 4 * m.active, share)


@inner
def _choose(m: Record, scores: int, keys: int, chosen: int) -> None:
    """The largest A of the scores, or of what they say with the bias; ties to the lower expert."""
    if m.bias == 0:
        for e in range(m.experts):
            store_f32(keys + 4 * e, load_f32(scores + 4 * e))
    else:
        top = _largest(scores, m.experts)
        total = _total(scores, m.experts, top)
        for e in range(m.experts):
            score = load_f32(scores + 4 * e)
            p = _sigmoid(score) if m.scores == SIGMOID else exp_f32(score - top) / total
            store_f32(keys + 4 * e, p + load_f32(m.bias + 4 * e))
    for i in range(m.active):
        best = 0
        for e in range(1, m.experts):
            if load_f32(keys + 4 * e) > load_f32(keys + 4 * best):
                best = e
        store_i32(chosen + 4 * i, best)
        store_f32(keys + 4 * best, np.float32(-np.inf))


@inner
def _weigh(m: Record, scores: int, chosen: int, mix: int) -> None:
    """The shares of the chosen."""
    if m.scores == SIGMOID:
        total = NOTHING
        for i in range(m.active):
            share = _sigmoid(load_f32(scores + 4 * load_i32(chosen + 4 * i)))
            store_f32(mix + 4 * i, share)
            total += share
    else:
        top = _largest(scores, m.experts)
        total = NOTHING if m.normalized else _total(scores, m.experts, top)
        for i in range(m.active):
            share = exp_f32(load_f32(scores + 4 * load_i32(chosen + 4 * i)) - top)
            store_f32(mix + 4 * i, share)
            if m.normalized:
                total += share
    if m.normalized or m.scores != SIGMOID:
        for i in range(m.active):
            store_f32(mix + 4 * i, load_f32(mix + 4 * i) / total)
    if m.scale != 1.0:
        for i in range(m.active):
            store_f32(mix + 4 * i, load_f32(mix + 4 * i) * np.float32(m.scale))


@inner
def _largest(scores: int, count: int) -> Any:
    top = load_f32(scores)
    for e in range(1, count):
        top = max(top, load_f32(scores + 4 * e))
    return top


@inner
def _total(scores: int, count: int, top: float) -> Any:
    """The sum of e^(score - top)."""
    total = NOTHING
    for e in range(count):
        total += exp_f32(load_f32(scores + 4 * e) - top)
    return total


@inner
def _sigmoid(x: float) -> Any:
    return ONE / (ONE + exp_f32(-x))
