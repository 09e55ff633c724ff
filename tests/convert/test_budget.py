"""Formats that fit: never over the limit, never worse than a plain recipe of their size, refused with the numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localmix import convert, network
from localmix.convert import budget
from localmix.convert.checkpoint import Checkpoint, Source
from localmix.convert.loss import Sensitivity
from localmix.convert.matrix import Held
from localmix.errors import LocalmixError
from localmix.measure import synthetic
from quant.recipe import RECIPES, Model, Row

# Wikitext-2 perplexity of Mixtral 8x7B over that of Q8_0, as published for recipes of these names (see FACTS).
PUBLISHED = {"Q2_K": 0.209, "Q3_K_M": 0.0437, "Q4_0": 0.0229, "Q4_K_S": 0.0172, "Q4_K_M": 0.0145, "Q5_0": 0.0071}


@pytest.fixture(scope="module")
def mixtral() -> Checkpoint:
    """All of it but the weights."""
    return described(synthetic.SHAPES["mixtral-8x7b"])


def described(shape: synthetic.Shape) -> Checkpoint:
    nothing = Held(np.zeros((1, 1), np.float32), Path("none"))
    metadata: dict[str, Any] = {f"{shape.architecture}.{key}": value for key, value in shape.keys.items()}
    metadata["general.architecture"] = shape.architecture
    wanted = network.shapes("none", metadata, shape.vocabulary, lambda name: name == "output.weight")
    tensors = {name: Source(size, nothing) for name, size in wanted.items()}
    model = Model(shape.layers, int(shape.keys.get("expert_count", 0)))
    return Checkpoint(Path("none"), (), model, metadata, tensors)


def loss(plan: convert.Plan) -> float:
    return Sensitivity(32, plan.checkpoint.weights).total(plan.tensors.values())


@pytest.mark.parametrize("gigabytes", [17, 20, 24, 32, 48, 200])
def test_fits_the_memory_and_uses_it(mixtral: Checkpoint, gigabytes: int) -> None:
    rows = budget.fit_memory(mixtral, [], gigabytes * 10**9, 4096)
    needs = budget.memory(convert.make_plan(mixtral, budget.FITTED, rows), 4096)
    assert needs.cache == 4096 * 128 << 10
    assert needs.total <= gigabytes * 10**9
    assert needs.total > 0.98 * min(gigabytes, 93) * 10**9


def test_a_longer_context_leaves_less_for_weights(mixtral: Checkpoint) -> None:
    sizes = [
        convert.make_plan(mixtral, budget.FITTED, budget.fit_memory(mixtral, [], 24 * 10**9, context)).nbytes
        for context in (1024, 32768)
    ]
    assert sizes[0] - sizes[1] == pytest.approx((32768 - 1024) * 128 << 10, rel=0.05)


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_M"])
def test_no_worse_than_a_recipe_of_its_size(mixtral: Checkpoint, name: str) -> None:
    plain = convert.make_plan(mixtral, RECIPES[name])
    fitted = convert.make_plan(mixtral, budget.FITTED, budget.fit(mixtral, [], plain.nbytes))
    assert fitted.nbytes <= plain.nbytes
    assert loss(fitted) <= loss(plain)


def test_what_cannot_fit_is_refused_with_the_numbers(mixtral: Checkpoint) -> None:
    with pytest.raises(LocalmixError, match=r"12 GB .* 15\.3 GB or more \(all of them Q2_K\), .* 537 MB, .* in all"):
        budget.fit_memory(mixtral, [], 12 * 10**9, 4096)
    with pytest.raises(LocalmixError, match=r"the weights may take 11\.7 GB, but need at least 15\.3 GB"):
        budget.fit(mixtral, [], int(2 * mixtral.weights / 8))


def test_overrides_stay(mixtral: Checkpoint) -> None:
    rows = budget.fit(mixtral, [Row(r"attn_v\.", "q8_0")], int(3.5 * mixtral.weights / 8))
    tensors = convert.make_plan(mixtral, budget.FITTED, rows).tensors
    assert {info.format.name for name, info in tensors.items() if "attn_v" in name} == {"q8_0"}
    assert {info.format.name for name, info in tensors.items() if "gate_inp" in name or "norm" in name} == {"f32"}


def test_rows_that_do_not_divide_get_formats_that_do() -> None:
    mistral = synthetic.SHAPES["mistral-7b"]
    sizes = {"embedding_length": 96, "feed_forward_length": 160, "block_count": 2, "vocab_size": 64}
    heads = {"attention.head_count": 4, "attention.head_count_kv": 2, "rope.dimension_count": 24,
             "attention.key_length": 24, "attention.value_length": 24}  # fmt: skip
    checkpoint = described(replace(mistral, vocabulary=64, keys={**mistral.keys, **sizes, **heads}))
    plan = convert.make_plan(checkpoint, budget.FITTED, budget.fit(checkpoint, [], 6 * checkpoint.weights // 8))
    assert plan.nbytes <= 6 * checkpoint.weights // 8
    assert {info.format.block for info in plan.tensors.values()} <= {1, 32}


def test_the_estimate_orders_published_recipes(mixtral: Checkpoint) -> None:
    found = {name: loss(convert.make_plan(mixtral, RECIPES[name])) for name in PUBLISHED}
    assert sorted(found, key=found.__getitem__) == sorted(PUBLISHED, key=PUBLISHED.__getitem__)
    for name, value in PUBLISHED.items():
        assert 0.5 < found[name] / value < 1.5, (name, found[name])
