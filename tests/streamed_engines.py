"""Engines whose experts are in a pool, and passes of every kind, whose logits are compared with the resident ones'."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmix import gguf, network
from localmix.backends import Backend
from localmix.backends.protocol import Cache
from localmix.engine import streaming
from localmix.engine.batch import Batch
from localmix.engine.engine import Engine
from localmix.stream.pool import Pool

# Sizes of passes, each of some of the sequences: a prompt, decoding, a batch of three, a prompt beside two answers.
PASSES: Sequence[dict[int, int]] = ({0: 40}, {0: 1}, {0: 1}, {1: 7, 2: 19}, {0: 1, 1: 1, 2: 1}, {0: 1, 1: 9, 2: 1})


def engine(path: Path, backend: Backend, slots: int | None = None) -> Engine:
    """`slots` None: with all experts in memory."""
    loaded = network.load(gguf.open(path))
    if slots is None:
        return Engine(loaded, backend)
    pool = Pool(streaming.experts(loaded), slots, 1 << 30, backend.slots(loaded))
    return Engine(streaming.owned(loaded) if backend.mapped else loaded, backend, pool=pool)


def begun(path: Path, backend: Backend) -> tuple[Engine, Cache, int]:
    """An engine that streams, and a sequence in its cache, of three ids."""
    streamed = engine(path, backend, 4)
    cache = streamed.cache(64)
    sequence = cache.new()
    streamed.forward(Batch.of([(sequence, 0, [3, 4, 5])]), cache)
    return streamed, cache, sequence


def logits(engine: Engine, *, every: bool = False) -> list[NDArray]:
    """Of each pass."""
    random, cache, at = np.random.default_rng(0), engine.cache(64), {}
    sequences = [cache.new() for _ in range(3)]
    found = []
    for sizes in PASSES:
        parts = []
        for which, size in sizes.items():
            ids = random.integers(3, engine.network.vocabulary, size).tolist()
            parts.append((sequences[which], at.get(which, 0), ids))
            at[which] = at.get(which, 0) + size
        found.append(engine.forward(Batch.of(parts, every=every), cache).copy())
    return found


def same(a: list[NDArray], b: list[NDArray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))
