"""The online softmax: scores of four queries with 16 more positions become weights, and what was summed is scaled.

Four at a time and without a branch: alone, each would wait for its own chain of a maximum, an exponential and a sum.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from localmix.backends.numba.machine.simd import (
    F32,
    I64,
    const,
    exp_vector,
    fma,
    fold,
    larger,
    load,
    shuffle,
    splat,
    store,
    vec,
)
from localmix.backends.numba.machine.words import int64, void, word

FOUR, SIXTEEN = vec(F32, 4), vec(F32, 16)
LEAST = -1e30  # below any score; minus infinity would make 0/0 of a block that sees nothing
UNSEEN = -3e38  # the score of what a query does not see: so far below LEAST that its weight is 0 beside it


@word(void, int64, int64, int64, int64, int64, int64, int64)
def soften(b: ir.IRBuilder, at: Any, m: Any, l: Any, *seen: Any) -> None:  # noqa: E741
    """Scores (4, 16) at `at` become weights, query i seeing the first seen[i]; then (4,) what its sums keep.

    m (4,) is each query's largest score so far, l (4,) the sum of its weights.
    """
    masks, scores = _visible(b, at, seen)
    old = load(b, FOUR, m)
    new = larger(b, old, each(b, scores, lambda x, y: larger(b, x, y)))
    keep = exp_vector(b, b.fsub(old, new))
    weights = []
    for i, (score, mask) in enumerate(zip(scores, masks, strict=True)):
        weight = exp_vector(b, b.fsub(score, shuffle(b, new, [i] * 16)))
        weights.append(b.select(mask, weight, const(SIXTEEN, 0.0)))
        store(b, weights[i], at, 64 * i)
    store(b, keep, at, 256)
    store(b, new, m)
    store(b, fma(b, load(b, FOUR, l), keep, each(b, weights, b.fadd)), l)


def _visible(b: ir.IRBuilder, at: Any, seen: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Which of 16 positions each of four queries sees, and its scores, of others the least."""
    lanes = ir.Constant(vec(I64, 16), list(range(16)))
    masks = [b.icmp_signed("<", lanes, splat(b, count, 16)) for count in seen]
    least = const(SIXTEEN, LEAST)
    return masks, [b.select(mask, load(b, SIXTEEN, at, 64 * i), least) for i, mask in enumerate(masks)]


def each(b: ir.IRBuilder, vectors: list[Any], combine: Callable[[Any, Any], Any]) -> Any:
    """All lanes of each of four vectors combined: <4 x float>."""
    x = fold(b, vectors, 16, combine)  # a number has four lanes
    for distance in (2, 1):
        x = combine(x, shuffle(b, x, [i ^ distance for i in range(16)]))
    return shuffle(b, x, [0, 4, 8, 12])
