"""Formats that fit: the least estimated loss for a given number of bytes, or of bits a weight.

Every matrix starts in the narrowest format; then the step that saves most loss for its bytes is taken, again and
again, until no further one fits. What must fit besides the weights is the cache and the memory to work in.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from localmix.amounts import amount
from localmix.convert.checkpoint import Checkpoint
from localmix.convert.loss import Sensitivity
from localmix.convert.plan import Plan, make_plan
from localmix.engine.batch import CHUNK
from localmix.errors import LocalmixError
from localmix.gguf import TensorInfo
from localmix.measure import inventory
from quant import FORMATS
from quant.format import Format
from quant.recipe import Recipe, Row, that_divides

LADDER = ("q2_k", "q3_k", "iq4_xs", "q4_k", "q5_k", "q6_k", "q8_0", "f16")  # what is chosen from
FITTED = Recipe(15, "q4_k")  # general.file_type "mostly Q4_K_M", which is decoration
PROGRAM = 100 * 10**6  # bytes of the program itself; measured: 60 MB with compiled kernels loaded


@dataclass(frozen=True)
class Step:
    """Widen a tensor to `format`: `loss` nats less for `bytes` more."""

    tensor: TensorInfo
    format: Format
    bytes: int
    loss: float

    @property
    def worth(self) -> float:
        return self.loss / self.bytes


@dataclass(frozen=True)
class Memory:
    """Bytes that a model needs where it runs."""

    weights: int
    cache: int  # of the context asked for
    work: int  # the program and its buffers

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.work


def memory(plan: Plan, context: int) -> Memory:
    """What running the planned model with `context` tokens takes."""
    found = inventory.take(plan)
    return Memory(found.bytes, found.cache(context), _work(plan, found.experts_used or 1))


def _work(plan: Plan, active: int) -> int:
    """The buffers of a prompt's chunk; measured 137 MB for Mixtral's shapes, for which this says 154 MB."""
    numbers = plan.metadata
    prefix = numbers["general.architecture"]
    width, hidden = (int(numbers[f"{prefix}.{key}"]) for key in ("embedding_length", "feed_forward_length"))
    hidden = int(numbers.get(f"{prefix}.expert_feed_forward_length", hidden))
    return PROGRAM + CHUNK * (active * (5 * hidden + 9 * width) + 20 * width)


def fit(checkpoint: Checkpoint, overrides: list[Row], most: int) -> list[Row]:
    """The format of each matrix, as rows with whole names, `overrides` first, so that all take at most `most` bytes.

    LocalmixError: not even the narrowest formats fit.
    """
    narrowest = make_plan(checkpoint, Recipe(0, LADDER[0]), overrides)
    chosen = narrowest.tensors
    free = most - narrowest.nbytes
    if free < 0:
        raise LocalmixError(
            f"the weights may take {amount(most, 'B')}, but need at least {amount(narrowest.nbytes, 'B')} "
            f"(all of them {LADDER[0].upper()}): allow more, or use a smaller model"
        )
    fixed = {name for name in chosen if any(re.search(row.pattern, name) for row in overrides)}
    steps = sorted(_steps(narrowest, fixed), key=lambda step: -step.worth)
    stuck: set[str] = set()
    for step in steps:
        if step.bytes > free:
            stuck.add(step.tensor.name)
        elif step.tensor.name not in stuck:
            chosen[step.tensor.name] = TensorInfo(step.tensor.name, step.tensor.shape, step.format)
            free -= step.bytes
    exact = [Row(f"^{re.escape(name)}$", info.format.name) for name, info in chosen.items() if len(info.shape) > 1]
    return [*overrides, *exact]


def fit_memory(checkpoint: Checkpoint, overrides: list[Row], most: int, context: int) -> list[Row]:
    """The same where weights, the cache of `context` tokens and the memory to work in take at most `most` bytes."""
    least = memory(make_plan(checkpoint, Recipe(0, LADDER[0]), overrides), context)
    if least.total > most:
        raise LocalmixError(
            f"{amount(most, 'B')} of memory is too little: the weights take {amount(least.weights, 'B')} or more "
            f"(all of them {LADDER[0].upper()}), the cache of {context} tokens {amount(least.cache, 'B')}, the program "
            f"{amount(least.work, 'B')}, {amount(least.total, 'B')} in all: allow more, a shorter context (--ctx), "
            "or take a smaller model"
        )
    return fit(checkpoint, overrides, most - least.cache - least.work)


def _steps(plan: Plan, fixed: set[str]) -> Iterator[Step]:
    """The steps of every matrix, those of each one ever less worth than the one before."""
    model = Sensitivity(plan.checkpoint.model.layers, sum(prod(info.shape) for info in plan.tensors.values()))
    for info in plan.tensors.values():
        if info.name in fixed or info.format.name in ("f32", "mxfp4"):  # small, or kept as it was trained
            continue
        formats = {that_divides(FORMATS[name], info.shape[-1]).format.name: None for name in LADDER}
        points = [TensorInfo(info.name, info.shape, FORMATS[name]) for name in formats]
        hull = _hull([(point.nbytes, model.loss(info.name, point.format), point) for point in points])
        for (size, loss, _), (larger, less, point) in pairwise(hull):
            yield Step(point, point.format, larger - size, loss - less)


def _hull(points: list[tuple[int, float, TensorInfo]]) -> list[tuple[int, float, TensorInfo]]:
    """The points below which none lies: from one to the next the loss falls, ever more slowly."""
    found: list[tuple[int, float, TensorInfo]] = []
    for point in sorted(points, key=lambda point: point[:2]):
        if found and point[1] >= found[-1][1]:
            continue
        while len(found) > 1 and _fall(found[-2], point) >= _fall(found[-2], found[-1]):
            found.pop()
        found.append(point)
    return found


def _fall(a: tuple[int, float, TensorInfo], b: tuple[int, float, TensorInfo]) -> float:
    return (a[1] - b[1]) / (b[0] - a[0])
