"""One line of the self-test, and how numbers are compared: largest difference over the largest number."""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localmix.backends.mlx.matrix import Arithmetic
from localmix.backends.mlx.metal import choice


@dataclass(frozen=True)
class Check:
    """`passed` None: it cannot run here, `detail` says why."""

    name: str
    passed: bool | None
    detail: str


Compute = Callable[[Arithmetic], mx.array]


def device(half: bool) -> Arithmetic:
    """What this device computes with, in one of its modes."""
    return Arithmetic(half, cpu=mx.default_device() == mx.cpu, kernels=choice.kernels())


def bound(half: bool) -> float:
    """What rounding may cost: products whose sums are kept in 16 bits for a while, or in 32. Faults cost far more."""
    return 1e-2 if half else 1e-4


def compare(name: str, compute: Compute, expected: NDArray, half: bool, more: float = 0.0) -> Check:
    """`compute` on this device beside what is expected and, on a GPU, beside MLX's CPU device.

    `more` is added to what rounding may cost.
    """
    limit = bound(half) + more
    try:
        got = numbers(compute(device(half)))
        error = distance(got, expected)
        detail, right = f"error {error:.1e}", error < limit  # a NaN is not
        if mx.default_device() != mx.cpu:
            with mx.stream(mx.cpu):
                apart = distance(got, numbers(compute(Arithmetic(half, cpu=True))))
            detail, right = f"{detail}, {apart:.1e} from the CPU device", right and apart < limit
    except (RuntimeError, ValueError, TypeError) as refusal:
        return Check(name, False, " ".join(str(refusal).split()))
    return Check(name, right, detail)


def distance(got: NDArray, expected: NDArray) -> float:
    """NaN if a number is none, or if there are not as many as expected."""
    if got.shape != expected.shape:
        return float("nan")
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def numbers(x: mx.array) -> NDArray[np.float32]:
    return np.array(x.astype(mx.float32))
