"""All that the MLX backend computes, on this device, against the reference and MLX's CPU device: pass or fail.

Matrices of every format, then single operations, then whole networks, which are an argument.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import mlx.core as mx

from localmix.backends.mlx.metal import choice
from localmix.backends.mlx.metal.lanes import TABLE
from localmix.backends.mlx.selftest import matrices, networks, operations
from localmix.backends.mlx.selftest.check import Check
from localmix.backends.mlx.selftest.networks import Named

__all__ = ["Check", "Named", "checks"]


def checks(named: Iterable[Named], modes: Iterable[bool] = (True, False)) -> Iterator[Check]:
    """All of them, each computed when it is asked for. `modes`: of 16 bits (True), which GPUs run, and of 32."""
    kept = list(named)
    yield from map(_metal, TABLE)
    for half in modes:
        for check in chain(matrices.checks(half), operations.checks(half), networks.checks(kept, half)):
            yield Check(f"{16 if half else 32}-bit {check.name}", check.passed, check.detail)


def _metal(name: str) -> Check:
    title = f"metal {name}"
    if not mx.metal.is_available():
        return Check(title, None, "no Apple GPU found")
    verdict = choice.judge(name)
    return Check(title, verdict.right, verdict.why)
