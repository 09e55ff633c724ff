"""Batches: rows, positions and spans, and the wanted rows alone."""

from dataclasses import astuple

import numpy as np
import pytest

from localmix.engine.batch import Batch
from localmix.model import Model


def test_only_wanted() -> None:
    batch = Batch.of([(7, 10, [1, 2, 3, 4, 5]), (8, 0, [6]), (9, 3, [7, 8, 9])])
    last = batch.only_wanted()
    assert last.ids.tolist() == [5, 6, 9]
    assert last.positions.tolist() == [14, 0, 5]
    assert [astuple(s) for s in last.spans] == [(7, 0, 14, 1), (8, 1, 0, 1), (9, 2, 5, 1)]
    some = Batch(batch.ids, batch.positions, batch.spans, np.array([1, 2, 4, 7, 8], np.int32)).only_wanted()
    assert some.ids.tolist() == [2, 3, 5, 8, 9]
    assert [astuple(s) for s in some.spans] == [(7, 0, 11, 2), (7, 2, 14, 1), (9, 3, 4, 2)]
    assert some.wanted.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("wanted", [[], [0], [3, 4, 5, 40], [89], [*range(45, 90)]])
def test_logits_of_some_rows_are_those_of_every_row(upcycled: Model, wanted: list[int]) -> None:
    """Also after the next tokens, which read what the pass left in the cache."""
    ids = np.random.default_rng(0).integers(3, upcycled.network.vocabulary, 95).tolist()
    expected = upcycled.logits(ids, kv="f32")
    cache = upcycled.engine.cache(128, "f32")
    sequence = cache.new()
    whole = Batch.of([(sequence, 0, ids[:90])])
    batch = Batch(whole.ids, whole.positions, whole.spans, np.array(wanted, np.int32))
    found = upcycled.engine.forward(batch, cache)
    assert np.allclose(found, expected[wanted], rtol=1e-3, atol=1e-3)
    after = upcycled.engine.forward(Batch.of([(sequence, 90, ids[90:])], every=True), cache)
    assert np.allclose(after, expected[90:], rtol=1e-3, atol=1e-3)


def test_tokens_one_by_one_see_their_own_sequence(upcycled: Model) -> None:
    """Also one that another begins with, which has a page to itself as soon as either goes on, and one that was cut."""
    first, other = ([7, 9, 11, *range(start, start + 5)] for start in (20, 40))
    cache = upcycled.engine.cache(128, "f32")
    both = [cache.new()]

    def one(sequence: int, ids: list[int], position: int) -> None:
        batch = Batch.of([(sequence, position, ids[position : position + 1])])
        found = upcycled.engine.forward(batch, cache)[0]
        assert np.allclose(found, expected[tuple(ids)][position], rtol=1e-3, atol=1e-3)

    expected = {tuple(ids): upcycled.logits(ids, kv="f32") for ids in (first, other)}
    for position in range(3):
        one(both[0], first, position)
    both.append(cache.share(both[0], 3))
    for ids, sequence in ((first, both[0]), (other, both[1]), (first, both[0]), (other, both[1])):
        for position in range(cache.length(sequence), cache.length(sequence) + 2):
            one(sequence, ids, position)
    cache.truncate(both[0], 0)
    for position in range(8):
        one(both[0], other, position)
