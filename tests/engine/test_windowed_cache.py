"""Layers with a window keep what coming tokens see and no more, and every logit is that of a cache that keeps all."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from random_families import make

import localmix
from localmix import gguf
from localmix.answer.options import Options
from localmix.answer.scheduler import Scheduler
from localmix.answer.ticket import Request, Ticket
from localmix.backends.protocol import Cache
from localmix.engine.batch import CHUNK, Batch
from localmix.engine.cache import PAGE, PagedCache
from localmix.engine.context import Context
from localmix.engine.engine import Engine
from localmix.engine.kept import SLACK
from localmix.measure import inventory
from localmix.model import Model
from quant.format import Floats

WINDOW = 7  # of the file's layers 0 and 2
IDS = np.random.RandomState(2).randint(3, 300, 250).tolist()
OTHER = np.random.RandomState(3).randint(3, 300, 250).tolist()


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return make(folder / "windowed.gguf", "gpt-oss")


@pytest.fixture
def model(path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> Model:
    if backend == "mlx":  # so that windows lose something of 250 tokens
        monkeypatch.setattr("localmix.backends.mlx.cache.STEP", 32)
    return localmix.load(path, backend)


@pytest.fixture
def engine(model: Model) -> Engine:
    return model.engine


def whole(engine: Engine) -> Cache:
    """A cache that keeps all."""
    every = tuple(replace(layer, attention=replace(layer.attention, window=0)) for layer in engine.network.layers)
    return engine.backend.cache(replace(engine.network, layers=every), engine.network.context, engine.kv)


def read(context: Context, ids: Sequence[int]) -> Floats:
    """In pieces of 50; the logits after the last."""
    return [context.advance(ids[at : at + 50]) for at in range(0, len(ids), 50)][-1]


def logits(engine: Engine, cache: Cache, cuts: list[int]) -> Floats:
    """Of IDS cut there, in one sequence."""
    sequence, edges = cache.new(), [0, *cuts, len(IDS)]
    parts = pairwise(edges)
    found = [engine.forward(Batch.of([(sequence, at, IDS[at:end])], every=True), cache) for at, end in parts]
    return np.concatenate(found)


@pytest.mark.parametrize("cuts", [[], [100, 101, 102, 180], [63, 64, 65, 127, 129, 200, 249]])
def test_bits_are_those_of_a_cache_that_keeps_all(engine: Engine, cuts: list[int]) -> None:
    assert np.array_equal(logits(engine, engine.cache(), cuts), logits(engine, whole(engine), cuts))


def test_no_more_is_kept_than_a_window_and_pages(engine: Engine) -> None:
    cache = engine.cache()
    logits(engine, cache, list(range(10, 250)))
    assert cache.nbytes <= cache.needs(250) <= whole(engine).needs(250)
    if not isinstance(cache, PagedCache):
        assert (cache.first(1, 0), cache.first(1, 1)) == (224 + 1 - WINDOW - SLACK, 0)  # as of the last time it grew
        return
    full, windowed = (group.pool for group in cache._groups)
    assert full.nbytes == 4 * full.page_bytes
    assert windowed.nbytes == 2 * windowed.page_bytes  # from 250 - WINDOW - SLACK on


def test_info_and_admission_count_alike(engine: Engine, path: Path) -> None:
    """By one rule, from a header as from a cache; of layers with a window no more however long the sequence."""
    found, cache = inventory.take(gguf.open(path)), engine.cache(kv="f16")
    assert found.kept is not None
    assert found.kept.position == cache.position_bytes == 3 * found.kept.growing
    if isinstance(cache, PagedCache):
        assert [found.cache(n) for n in (1, 250, 10_000)] == [cache.needs(n) for n in (1, 250, 10_000)]
    assert found.cache(1 << 20) - found.cache(1 << 19) == found.kept.growing << 19


def test_of_a_long_prompt_a_chunk_more() -> None:
    cache = PagedCache(4, 1, 2, 10_000, windows=[128, 0, 128, 0])
    one = cache.new()
    for start in range(0, 8 * CHUNK, CHUNK):
        batch = Batch.of([(one, start, [0] * CHUNK)])
        cache.reserve(batch)
        assert cache.nbytes <= cache.needs(start + CHUNK)
        cache.commit(batch)
    full, windowed = (group.pool for group in cache._groups)
    assert full.nbytes // full.page_bytes == 8 * CHUNK // PAGE
    assert windowed.nbytes // windowed.page_bytes == (128 + SLACK) // PAGE
    cache.free(one)
    assert cache.nbytes == 0


def test_prefixes_are_shared_where_all_is_there(engine: Engine) -> None:
    """Cut a little, or within what no window has passed; else nothing is left, and the answer is the same."""
    expected = engine.logits(IDS)[-1]
    for first, length, shared in ((250, 250, 249), (250, 200, 200), (250, 120, 0), (250, 20, 0), (60, 30, 30)):
        context = Context(engine)
        read(context, [*IDS[:length], *OTHER[: first - length]])
        assert context.keep_prefix(IDS) == shared
        assert np.allclose(context.advance(IDS[shared:]), expected, atol=1e-4)


def test_what_cannot_be_shared_is_refused(engine: Engine) -> None:
    cache = engine.cache()
    context = Context(engine, cache=cache)
    read(context, IDS)
    one = context.sequence
    assert not cache.can_share(one, 120)
    with pytest.raises(AssertionError):
        cache.share(one, 120)
    with pytest.raises(AssertionError):
        cache.truncate(one, 120)
    cache.truncate(one, 0)
    assert cache.nbytes == 0


def test_a_mark_is_where_one_can_go_back_to(engine: Engine) -> None:
    """An answer of 150 tokens with thoughts, which the next prompt leaves out."""
    context = Context(engine)
    context.advance(IDS[:100])
    context.mark()
    for id in IDS[100:]:
        context.advance([id])
    prompt = [*IDS[:100], *OTHER[:20]]
    assert context.keep_prefix(prompt) == 100
    found = context.advance(prompt[100:])
    other = Context(engine)
    other.advance(IDS[:100])
    assert np.array_equal(found, other.advance(prompt[100:]))
    context.free()
    assert context.cache.nbytes == 0


def test_shifts_are_as_with_all_positions_or_begin_again(engine: Engine) -> None:
    def shifted(context: Context, keep: int, count: int) -> list[int]:
        read(context, IDS)
        context.shift(keep, count)
        return context.ids

    for keep, count in ((10, 100), (30, 60)):
        windowed, full = Context(engine), Context(engine, cache=whole(engine))
        assert shifted(windowed, keep, count) == shifted(full, keep, count)
        for id in OTHER[:5]:
            assert np.array_equal(windowed.advance([id]), full.advance([id]))
    assert shifted(Context(engine), 105, 140) == []  # a window of the new end would reach what is gone


def test_saved_and_taken_up(engine: Engine) -> None:
    context, other = Context(engine), Context(engine)
    read(context, IDS[:200])
    ids, kv = context.dump()
    other.restore(ids, kv)
    assert np.array_equal(other.advance(IDS[200:]), context.advance(IDS[200:]))
    assert other.keep_prefix([*IDS[:100], 1]) == 0


def test_what_prompts_begin_with_is_kept_where_they_part(model: Model) -> None:
    """A system prompt, which the second finds lost and leaves behind for the third; bits are as without."""
    prompts = [[*IDS[:90], *OTHER[at : at + 150]] for at in (0, 50, 100)]
    options = Options(temp=0, max_tokens=6)
    model.engine.chunk = 50
    scheduler = Scheduler(model.engine, parallel=2, budget=None)
    for prompt, cached in zip(prompts, (0, 0, 90), strict=True):
        ticket, alone = (Ticket(model, Request("1", prompt, options)) for _ in range(2))
        scheduler.submit(ticket)
        other = Scheduler(model.engine, parallel=1)
        other.submit(alone)
        while not (scheduler.idle and other.idle):
            scheduler.step()
            other.step()
        assert ticket.stats.cached_tokens == cached
        assert ticket.ids == alone.ids or model.backend.name == "mlx"  # whose sums depend on how a prompt is cut


def test_many_at_once_with_a_budget(model: Model) -> None:
    """Prompts that begin alike: of those that are remembered only what windows have not passed can be used."""
    prompts = [[*IDS[:90], *OTHER[at : at + 60]] for at in range(0, 60, 10)] + [IDS[:90]]
    options = Options(temp=0, max_tokens=8)

    def answers(budget: int | None, parallel: int) -> list[list[int]]:
        scheduler = Scheduler(model.engine, parallel=parallel, budget=budget)
        tickets = [Ticket(model, Request(str(i), prompt, options)) for i, prompt in enumerate(prompts * 2)]
        for ticket in tickets:
            scheduler.submit(ticket)
        while not scheduler.idle:
            scheduler.step()
        return [ticket.ids for ticket in tickets]

    expected = answers(0, 1)
    for budget, parallel in ((None, 1), (None, 4), (40 * model.engine.cache().page_bytes, 3)):
        assert answers(budget, parallel) == expected
