"""Passes between whose layers others run: both compute what they would have alone, to the last bit."""

import numpy as np
import pytest
from numpy.typing import NDArray

import localmix
from localmix.engine.context import Context, advance, advance_in_parts
from localmix.model import Model
from localmix.store.bundled import model_path

PROMPTS = [np.random.default_rng(n).integers(3, 4096, n).tolist() for n in (300, 40, 2)]


@pytest.fixture(scope="module", params=["f16", "q4_0"])
def model(request: pytest.FixtureRequest) -> Model:
    return localmix.load(model_path(), "numba", threads=2, kv=request.param)


def test_others_may_run_between_layers(model: Model) -> None:
    """Other prompts, single tokens, a larger batch than the one that waits; who watches hears of his own tokens."""
    cache, seen = model.engine.cache(), list[NDArray[np.int32]]()
    long, short, lonely, large = (Context(model.engine, cache=cache) for _ in range(4))
    alone = Context(model.engine)
    expected = [alone.advance(PROMPTS[0]), alone.advance([5])]
    lonely.advance(PROMPTS[2])
    for watches in (False, True):
        for one in (long, short, large):
            one.cut(0)
        long.watch = seen.append if watches else None
        running, passes = advance_in_parts([(long, PROMPTS[0]), (short, PROMPTS[1])]), 0
        while True:
            try:
                next(running)
            except StopIteration as end:
                logits = end.value
                break
            passes += 1
            assert not long.ids
            advance([(lonely, [7])])
            if passes == 2:
                advance([(lonely, [8]), (large, PROMPTS[0] * 2)])
        assert passes == model.engine.parts - 1
        assert np.array_equal(logits[0], expected[0])
        assert long.ids == PROMPTS[0]
        assert np.array_equal(long.advance([5]), expected[1])
    assert [one.shape[:2] for one in seen] == [(model.engine.parts, 300), (model.engine.parts, 1)]
    again = Context(model.engine)
    again.advance(PROMPTS[2])
    for id in lonely.ids[2:]:
        last = again.advance([id])
    lonely.cut(len(lonely.ids) - 1)
    assert np.array_equal(lonely.advance([id]), last)


def test_a_pass_that_is_given_up_leaves_no_trace(model: Model) -> None:
    cache = model.engine.cache()
    one, other = Context(model.engine, cache=cache), Context(model.engine, cache=cache)
    expected = Context(model.engine).advance(PROMPTS[1])
    running = advance_in_parts([(one, PROMPTS[1])])
    next(running)
    other.advance(PROMPTS[2])
    running.close()
    assert not one.ids
    assert cache.length(one.sequence) == 0
    assert np.array_equal(one.advance(PROMPTS[1]), expected)


def test_another_backend_has_one_part() -> None:
    reference = localmix.load(model_path(), "reference")
    assert reference.engine.parts == 1
    running = advance_in_parts([(Context(reference.engine), PROMPTS[2])])
    with pytest.raises(StopIteration) as end:
        next(running)
    assert np.array_equal(end.value.value[0], Context(reference.engine).advance(PROMPTS[2]))
