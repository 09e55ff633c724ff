"""Engines whose experts are in a pool, and passes of every kind, whose logits are compared with the resident ones'."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localmix import gguf, network
from localmix.backends import Backend
from localmix.backends.protocol import Cache
from localmix.engine import streaming
from localmix.engine.batch import Batch
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError
from localmix.network.decoder import Network
from localmix.stream.files import DirectFile
from localmix.stream.pool import Pool
from localmix.stream.slots import Slots, expert_bytes

# Sizes of passes, each of some of the sequences: a prompt, decoding, a batch of three, a prompt beside two answers.
PASSES: Sequence[dict[int, int]] = ({0: 40}, {0: 1}, {0: 1}, {1: 7, 2: 19}, {0: 1, 1: 1, 2: 1}, {0: 1, 1: 9, 2: 1})


def engine(path: Path, backend: Backend, room: int | None = None) -> Engine:
    """With room for so many experts; None: with all of them in memory."""
    loaded = network.load(gguf.open(path))
    if room is None:
        return Engine(loaded, backend)
    pool = pool_of(loaded, room, 1 << 30, backend.slots(loaded))
    return Engine(streaming.owned(loaded) if backend.mapped else loaded, backend, pool=pool)


def pool_of(network: Network, room: int, spare: int = 0, memory: Slots | None = None) -> Pool:
    """With room for so many experts."""
    found = streaming.experts(network)
    return Pool(found, room * (memory.nbytes if memory else expert_bytes(found.values())), spare, memory)


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


class Stopped(Exception):
    pass


def check_an_interrupted_pass(streamed: Engine, resident: Engine) -> None:
    """It leaves no trace. The pool has four slots."""
    assert streamed.pool is not None
    cache, own, calls = streamed.cache(64), resident.cache(64), []
    batch = Batch.of([(cache.new(), 0, list(range(3, 40)))])

    def pause() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        streamed.forward(batch, cache, pause=pause)
    assert streamed.pool.room() == 4
    expected = resident.forward(Batch.of([(own.new(), 0, list(range(3, 40)))]), own)
    assert np.array_equal(streamed.forward(batch, cache), expected)


def check_a_disk_that_fails(streamed: Engine, resident: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that meets it ends without a trace; the next one, when the disk is well again, is right."""
    assert streamed.pool is not None
    cache, own, read = streamed.cache(64), resident.cache(64), DirectFile.read
    sequence, same_there = cache.new(), own.new()
    for one, where, kept in ((streamed, sequence, cache), (resident, same_there, own)):
        one.forward(Batch.of([(where, 0, [3, 4, 5])]), kept)

    def broken(self: DirectFile, target: memoryview, at: int, need: int) -> None:
        target[:need] = b"\xff" * need
        raise LocalmixError("model.gguf: cannot be read at byte 0: Input/output error: check the disk")

    monkeypatch.setattr(DirectFile, "read", broken)
    for size in (1, 9):
        with pytest.raises(LocalmixError, match="Input/output error"):
            streamed.forward(Batch.of([(sequence, 3, list(range(30, 30 + size)))]), cache)
        assert streamed.pool.room() == 4
    monkeypatch.setattr(DirectFile, "read", read)
    got = streamed.forward(Batch.of([(sequence, 3, [7])]), cache)
    assert np.array_equal(got, resident.forward(Batch.of([(same_there, 3, [7])]), own))
