"""Logits do not depend on who else is in a batch, nor on how prompts are cut, to the last bit."""

from pathlib import Path

import numpy as np
import pytest
import random_families
from numpy.typing import NDArray

import localmix
from localmix.engine.batch import Batch
from localmix.model import Model
from localmix.store.bundled import model_path
from quant import FORMATS
from quant.format import Floats

STEPS = 3
LENGTHS = (1, 2, 66, 300, 600, 255)  # of prompts; more than 256 positions are attended to in parts
TEXTS = [np.random.default_rng(n).integers(3, 4096, n + STEPS).tolist() for n in LENGTHS]


@pytest.fixture(params=[("int8", "f16"), ("int8", "q8_0"), ("int16", "q4_0")], ids=lambda param: "-".join(param))
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Q4_K and Q6_K, two of eight experts."""
    activations, kv = request.param
    monkeypatch.setenv("LOCALMIX_ACTIVATIONS", activations)
    return localmix.load(model_path(), "numba", threads=2, kv=kv)


def alone(model: Model, ids: list[int]) -> Floats:
    """Logits (STEPS + 1, V) after the prompt, and after each token that follows."""
    cache, start = model.engine.cache(), len(ids) - STEPS
    sequence = cache.new()
    parts = [(0, ids[:start]), *((at, [ids[at]]) for at in range(start, len(ids)))]
    return np.concatenate([model.engine.forward(Batch.of([(sequence, at, part)]), cache) for at, part in parts])


def test_a_batch_gives_what_each_sequence_gives_alone(model: Model) -> None:
    cache = model.engine.cache()
    sequences = [cache.new() for _ in TEXTS]
    cuts = [(0, n) if n < 100 else (0, 70, 133, n) for n in LENGTHS]  # long prompts in other parts than alone
    rows: list[list[Floats]] = [[] for _ in TEXTS]
    for step in range(len(max(cuts, key=len)) - 1 + STEPS):
        parts, taking = [], []
        for i, (ids, cut) in enumerate(zip(TEXTS, cuts, strict=True)):
            ends = [*cut, *range(cut[-1] + 1, len(ids) + 1)]
            if step + 1 < len(ends):
                parts.append((sequences[i], ends[step], ids[ends[step] : ends[step + 1]]))
                taking.append(i)
        for i, logits in zip(taking, model.engine.forward(Batch.of(parts), cache), strict=True):
            rows[i].append(logits)
    for ids, found in zip(TEXTS, rows, strict=True):
        assert np.array_equal(np.stack(found[-STEPS - 1 :]), alone(model, ids)), len(ids)


def test_tokens_that_are_apart_have_the_bits_of_decoding(model: Model) -> None:
    """Logits, and what the cache keeps: also beyond the positions that are one part."""
    for ids in TEXTS:
        found = apart(model, ids, len(ids) - STEPS)
        assert all(np.array_equal(a, b) for a, b in zip(found, one_by_one(model, ids, len(ids) - STEPS), strict=True))


def test_threads_that_come_late_change_nothing() -> None:
    """More than there are processors: whoever comes to a phase that is over finds tables of another layer."""
    one, many = (localmix.load(model_path(), "numba", threads=threads) for threads in (1, 7))
    ids = TEXTS[2]
    expected = apart(one, ids, len(ids) - STEPS)[0]
    for _ in range(60):
        assert np.array_equal(apart(many, ids, len(ids) - STEPS)[0], expected)


@pytest.mark.parametrize("family", ["gpt-oss", "granite", "olmoe", "qwen2moe", "qwen3moe"])
def test_of_other_families_too(family: str, folder: Path) -> None:
    """Windows, sinks, shared experts, biases and norms of heads."""
    path = random_families.make(folder / f"{family}-q8_0.gguf", family, FORMATS["q8_0"])
    model = localmix.load(path, "numba", threads=2)
    assert model.backend.repeats(model.network)
    for start in (1, 9, 31):
        found, expected = (way(model, random_families.IDS, start) for way in (apart, one_by_one))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def apart(model: Model, ids: list[int], start: int) -> tuple[Floats, NDArray]:
    """Logits from position `start` on, whose tokens are computed in one pass, and the cache."""
    cache = model.engine.cache()
    sequence = cache.new()
    model.engine.forward(Batch.of([(sequence, 0, ids[:start])]), cache)
    logits = model.engine.forward(Batch.of([(sequence, start, ids[start:])], every=True, apart=True), cache)
    return logits, cache.dump(sequence)


def one_by_one(model: Model, ids: list[int], start: int) -> tuple[Floats, NDArray]:
    """The same, each token in a pass of its own."""
    cache = model.engine.cache()
    sequence = cache.new()
    model.engine.forward(Batch.of([(sequence, 0, ids[:start])]), cache)
    rows = [model.engine.forward(Batch.of([(sequence, at, [ids[at]])]), cache) for at in range(start, len(ids))]
    return np.concatenate(rows), cache.dump(sequence)
