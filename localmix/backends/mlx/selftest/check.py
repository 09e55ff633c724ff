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
    """`passed` None: it cannot be run here, `detail` says why."""

    name: str
    passed: bool | None
    detail: str


def arithmetic(half: bool) -> Arithmetic:
    """Of this device, in one of its modes."""
    return Arithmetic(half, cpu=mx.default_device() == mx.cpu, kernels=choice.kernels())


def bound(half: bool) -> float:
    """What rounding may cost: a product of 512 numbers, in 16 bits or in 32."""
    return 5e-3 if half else 1e-4


def compare(name: str, compute: Callable[[], mx.array], expected: NDArray, bound: float, twice: bool = True) -> Check:
    """`compute` on this device beside what is expected and, on a GPU, beside MLX's CPU device (`twice`)."""
    try:
        got = numbers(compute())
    except (RuntimeError, ValueError, TypeError) as refusal:
        return Check(name, False, " ".join(str(refusal).split()))
    error = distance(got, expected)
    detail, right = f"error {error:.1e}", error < bound  # a NaN is not
    if twice and mx.default_device() != mx.cpu:
        with mx.stream(mx.cpu):
            apart = distance(got, numbers(compute()))
        detail, right = f"{detail}, {apart:.1e} from the CPU device", right and apart < bound
    return Check(name, right, detail)


def distance(got: NDArray, expected: NDArray) -> float:
    """NaN if a number is none, or if there are not as many as expected."""
    if got.shape != expected.shape:
        return float("nan")
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def numbers(x: mx.array) -> NDArray[np.float32]:
    return np.array(x.astype(mx.float32))
