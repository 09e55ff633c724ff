"""Speed, measured: prompts, decoding, batches, at any depth of context, on random token ids.

Random ids, because random weights repeat one token and so one pair of experts. Every figure is the median of
several runs. For decoding also the bytes a second that it read and its share of what the memory bus can do.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from localmix.engine.batch import Batch
from localmix.measure import inventory
from localmix.measure.beside import Beside, seconds
from localmix.network.decoder import products_of

if TYPE_CHECKING:
    from localmix.model import Model


CACHED = 64 << 20  # bytes of a file: its weights stay in a cache, unless a reading of memory takes their place


@dataclass(frozen=True)
class Result:
    """One row. Without a bound (prompts, batches) the last two fields are None."""

    test: str  # pp512: a prompt of 512 tokens; tg64: 64 tokens decoded
    depth: int  # positions in the cache before the test
    batch: int  # sequences at once
    backend: str
    isa: str
    threads: int
    tokens_per_second: float  # median
    spread: float  # standard deviation over median
    gmac_per_second: float  # billions of multiplications with weights a second
    gb_per_second: float | None
    share_of_bound: float | None


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    prompts: Sequence[int] = (32, 128, 512, 2048)
    decoded: int = 64
    batches: Sequence[int] = (1,)
    depths: Sequence[int] = (0,)
    repeats: int = 5


def run(model: "Model", plan: Plan, bandwidth: Callable[[], float] | None) -> Iterator[Result]:
    """Every test of the plan that the model's context has room for.

    `bandwidth` measures the bytes a second that can be read, in turn with the tokens whose share of it is asked for.
    """
    for depth in plan.depths:
        for length in plan.prompts:
            if depth + length <= model.network.context:
                yield _prompt(model, plan, length, depth)
        for batch in plan.batches:
            if plan.decoded and depth + plan.decoded <= model.network.context:
                yield _decode(model, plan, depth, batch, bandwidth)


def seen(model: "Model", depth: float) -> float:
    """Positions that a token sees at a depth, in the mean of all layers: some have windows."""
    windows = model.network.windows
    return sum(min(depth, window or depth) for window in windows) / len(windows)


def products(model: "Model", *, output: bool) -> int:
    """Multiplications with weights for one token, with or without the output matrix."""
    found = inventory.take(model.file)
    counted = {"attention", "experts", "shared experts", "dense ffn", "router"} | ({"output"} if output else set())
    total = sum(part.active for part in found.parts if part.role in counted)
    return total + (model.network.vocabulary * model.network.width if output and found.tied else 0)


def spared(model: "Model") -> int:
    """Multiplications of a prompt's tokens, but for the last, that are not made: the last layer's, after its keys and
    values.
    """
    if not model.backend.spares:
        return 0
    last = model.network.layers[-1]
    own = (last.attention.q, last.attention.k, last.attention.v)
    router = last.mixture.router.gate.size if last.mixture.router else 0
    return products_of(last) + router - sum(math.prod(part.weight.shape) for part in own)


def _prompt(model: "Model", plan: Plan, length: int, depth: int) -> Result:
    rng = np.random.default_rng(0)
    cache = model.engine.cache()
    start = cache.new()
    cache.fill(start, depth)

    def once() -> float:
        sequence = cache.share(start, depth)
        ids = _ids(model, rng, length)
        began = time.perf_counter()
        for at in range(0, length, model.engine.chunk):
            model.engine.forward(Batch.of([(sequence, depth + at, ids[at : at + model.engine.chunk])]), cache)
        took = time.perf_counter() - began
        cache.free(sequence)
        return length / took

    speed, spread = _median(once, plan.repeats)
    macs = (products(model, output=False) - spared(model)) * speed / 1e9
    return _result(model, f"pp{length}", depth, 1, speed, spread, macs)


def _decode(model: "Model", plan: Plan, depth: int, batch: int, bandwidth: Callable[[], float] | None) -> Result:
    rng = np.random.default_rng(0)
    cache = model.engine.cache()
    start = cache.new()
    cache.fill(start, depth)
    read = inventory.take(model.file).read + seen(model, depth + plan.decoded / 2) * cache.position_bytes  # a token
    cached = model.file.size < CACHED
    bus = bandwidth if batch == 1 else None
    beside = Beside(bus, read) if bus and not cached else None
    timed = beside.seconds if beside else seconds

    def once() -> float:
        sequences = [cache.share(start, depth) for _ in range(batch)]
        drawn = [_ids(model, rng, batch) for _ in range(plan.decoded)]  # a tenth of a small model's token

        def step(i: int) -> None:
            parts = [(s, depth + i, drawn[i][j : j + 1]) for j, s in enumerate(sequences)]
            model.engine.forward(Batch.of(parts), cache)

        took = timed(step, plan.decoded)
        for sequence in sequences:
            cache.free(sequence)
        return batch * plan.decoded / took

    speed, spread = _median(once, plan.repeats)
    macs = products(model, output=True) * speed / 1e9
    gb = read * speed / 1e9 if batch == 1 else None
    share = float(np.median(beside.shares[1:])) if beside else None  # the first run is not counted
    if bus and cached:
        share = read * speed / bus()
    return _result(model, f"tg{plan.decoded}", depth, batch, speed, spread, macs, gb, share)


def _ids(model: "Model", rng: np.random.Generator, count: int) -> list[int]:
    return rng.integers(0, model.network.vocabulary, count).tolist()


def _median(once: Callable[[], float], repeats: int) -> tuple[float, float]:
    once()  # buffers are made, pages are touched
    runs = [once() for _ in range(repeats)]
    median = float(np.median(runs))
    return median, float(np.std(runs)) / median


def _result(
    model: "Model",
    test: str,
    depth: int,
    batch: int,
    speed: float,
    spread: float,
    macs: float,
    gb: float | None = None,
    share: float | None = None,
) -> Result:
    b = model.backend
    return Result(test, depth, batch, b.name, b.isa, b.threads, speed, spread, macs, gb, share)
