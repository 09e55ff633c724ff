"""Choices of experts counted: a router made by hand, counts by hand, and what the backends' networks choose."""

from pathlib import Path

import numpy as np
import pytest
import random_checkpoints
import small_models
from random_families import FAMILIES, IDS, make

import localmix
from localmix.engine.batch import Batch
from localmix.errors import LocalmixError
from localmix.measure import routing, windows
from localmix.measure.routing import Trace
from localmix.measure.windows import Window
from localmix.model import Model

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 4


def trace(chosen: object, windows: list[int], experts: int = 4) -> Trace:
    every = np.array(chosen, np.int16)
    ids = np.arange(every.shape[1], dtype=np.int32)
    return Trace("by hand", experts, tuple(range(len(every))), ids, np.array(windows, np.int32), every)


# Two layers, five tokens in windows of three and two, two experts each.
BY_HAND = trace(
    [[(0, 1), (1, 0), (1, 2), (1, 2), (3, 0)], [(3, 2), (3, 1), (0, 1), (2, 3), (2, 0)]],
    [0, 0, 0, 1, 1],
)


def test_counts() -> None:
    assert BY_HAND.counts().tolist() == [[3, 4, 2, 1], [2, 2, 3, 3]]
    assert BY_HAND.counts(0).tolist() == [[1, 3, 0, 1], [1, 0, 2, 2]]
    assert BY_HAND.counts(1).tolist() == [[2, 1, 2, 0], [1, 2, 1, 1]]
    assert BY_HAND.positions.tolist() == [0, 1, 2, 0, 1]


def test_experts_that_serve_together() -> None:
    first, second = BY_HAND.together().tolist()
    assert first == [[0, 2, 0, 1], [2, 0, 2, 0], [0, 2, 0, 0], [1, 0, 0, 0]]
    assert second == [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 2], [0, 1, 2, 0]]
    lift = routing.lift(BY_HAND.together(), BY_HAND.counts())
    assert lift[0, 0, 1] == pytest.approx(2 / (10 * 3 * 4 / (10**2 - 3**2 - 4**2 - 2**2 - 1)))
    assert lift[0, 2, 2] == 0


def test_experts_that_meet_by_chance() -> None:
    """Drawn at random, however many at a time, two meet as often as by chance."""
    random = np.random.RandomState(0)
    drawn = trace([[random.permutation(6)[:3] for _ in range(20_000)]], [0] * 20_000, experts=6)
    lift = routing.lift(drawn.together(), drawn.counts())[0]
    assert lift[~np.eye(6, dtype=bool)] == pytest.approx(1, abs=0.03)


def test_repeats_are_within_windows() -> None:
    """Token 3 begins a window: that it chooses as token 2 did is no repeat."""
    found = BY_HAND.repeats()
    assert found.pairs == 3
    assert found.first.tolist() == [1, 2]
    assert found.either.tolist() == [2, 3]
    both = found + found
    assert (both.pairs, both.first.tolist()) == (6, [2, 4])


def test_chance_is_the_papers() -> None:
    assert routing.chance(8, 2) == (0.125, pytest.approx(1 - 6 / 8 * 5 / 7))
    assert routing.chance(4, 4) == (0.25, 1)
    assert routing.chance(8, 1) == (0.125, pytest.approx(0.125))


def test_measures_of_balance() -> None:
    share = routing.shares(np.array([[2, 2, 2, 2], [8, 0, 0, 0], [4, 4, 0, 0]]))
    assert routing.entropy(share).tolist() == [2, 0, 1]
    assert routing.distance(share[0], share[1]) == 0.75
    assert routing.distance(share[1], share[1]) == 0


def routed_by_hand(path: Path) -> Path:
    """A sparse model whose router looks at one number of the embedding, which says the expert: id mod 4."""
    spec = random_checkpoints.Spec("by_hand", experts=4, active=2, layers=1, vocabulary=64, width=32)
    file = localmix.gguf.open(random_checkpoints.to_gguf(spec, path.with_suffix(".plain")))
    tensors = {name: (t.format, t.data) for name, t in file.tensors.items()}
    embedding = np.zeros((64, 32), np.float32)
    router = np.zeros((4, 32), np.float32)
    for id in range(64):  # a circle: the expert of most weight is that of id mod 4, the next that of (id + 1) mod 4
        angle = (id % 4) * np.pi / 2 + 0.3
        embedding[id, :2] = np.cos(angle), np.sin(angle)
    for expert in range(4):
        router[expert, :2] = np.cos(expert * np.pi / 2), np.sin(expert * np.pi / 2)
    changed = {
        "token_embd.weight": embedding,
        "blk.0.ffn_gate_inp.weight": router,
        "blk.0.ffn_norm.weight": np.ones(32, np.float32),
        "blk.0.attn_output.weight": np.zeros_like(file.tensors["blk.0.attn_output.weight"].data),
    }
    tensors |= {name: (small_models.F32, values) for name, values in changed.items()}
    return small_models.write(path, file.typed_metadata, tensors)


def test_a_router_made_by_hand(tmp_path: Path, backend: str) -> None:
    """In two windows, the first id of each not counted."""
    model = localmix.load(routed_by_hand(tmp_path / "hand.gguf"), backend)
    ids = [[1, 4, 5, 6, 7, 8], [1, 12, 12, 13]]
    found = routing.record(model, "hand", [Window(each, len(each)) for each in ids], 1)
    assert found.ids.tolist() == [4, 5, 6, 7, 8, 12, 12, 13]
    assert found.windows.tolist() == [0] * 5 + [1] * 3
    assert found.chosen[0].tolist() == [[id % 4, (id + 1) % 4] for id in found.ids.tolist()]
    assert found.counts().tolist() == [[5, 6, 3, 2]]
    assert found.repeats().first.tolist() == [1]
    assert found.repeats().either.tolist() == [6]


@pytest.mark.parametrize("name", ["one_of_three", "five_of_eight_wide_heads"])
def test_counts_add_up_for_any_number_of_experts(name: str, tmp_path: Path, backend: str) -> None:
    spec = next(spec for spec in random_checkpoints.SPECS if spec.name == name)
    model = localmix.load(random_checkpoints.to_gguf(spec, tmp_path / "x.gguf"), backend)
    ids = random_checkpoints.ids(spec)
    found = routing.record(model, name, [Window(ids[:30], 30), Window(ids[30:], 10)], 0)
    assert found.chosen.shape == (spec.layers, 40, spec.active)
    assert (found.counts().sum(axis=1) == spec.active * 40).all()
    assert sum(found.counts(choice) for choice in range(spec.active)).tolist() == found.counts().tolist()  # type: ignore[union-attr]
    assert (found.together().sum(axis=(1, 2)) == 40 * spec.active * (spec.active - 1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sparse_family(family: str, tmp_path: Path) -> None:
    """Shared experts, which every token has, are not counted; whatever A is, layers add up."""
    model = localmix.load(make(tmp_path / "x.gguf", family), "reference")
    if not model.network.experts:
        return
    found = routing.record(model, family, [Window(IDS, len(IDS))], 0)
    assert found.chosen.shape == (len(model.network.layers), len(IDS), model.network.active)
    assert (found.counts().sum(axis=1) == model.network.active * len(IDS)).all()
    assert all(len(set(token)) == model.network.active for token in found.chosen[-1].tolist())


def test_every_token_of_a_text_is_there(upcycled: Model) -> None:
    """In windows, the last of which is short; each begins with a BOS of its own, which is left out."""
    cut, lead = windows.whole(upcycled.tokenizer, TEXT, 30)
    found = routing.record(upcycled, "text", cut, lead)
    assert found.ids.tolist() == upcycled.tokenizer.encode(TEXT, bos=False)
    assert found.positions.max() == 28
    cache = upcycled.engine.cache()
    seen: list[np.ndarray] = []
    upcycled.engine.forward(Batch.of([(cache.new(), 0, cut[0].ids)]), cache, seen.append)
    assert (found.chosen[:, :29] == seen[0][:, 1:]).mean() > 0.99  # a tie may fall either way


def test_texts_joined(upcycled_path: Path) -> None:
    model = localmix.load(upcycled_path, "numba")
    cut, lead = windows.whole(model.tokenizer, TEXT, 30)
    one, two = routing.record(model, "one", cut[:2], lead), routing.record(model, "two", cut[2:], lead)
    both = routing.joined([one, two])
    assert both.ids.tolist() == [*one.ids, *two.ids]
    assert (both.counts() == one.counts() + two.counts()).all()
    assert both.repeats().pairs == one.repeats().pairs + two.repeats().pairs


def test_what_cannot_be_routed_is_refused(stories: Model) -> None:
    with pytest.raises(LocalmixError, match="dense: expected a mixture of experts"):
        routing.record(stories, "x", [Window([1, 2], 2)], 0)
    with pytest.raises(LocalmixError, match="the text is empty"):
        windows.whole(stories.tokenizer, "", 30)
