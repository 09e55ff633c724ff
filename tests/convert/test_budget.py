"""Formats that fit: never over the limit, never worse than a plain recipe of their size, refused with the numbers."""

from pathlib import Path

import numpy as np
import pytest

from localmix import convert
from localmix.convert import budget
from localmix.convert.checkpoint import Checkpoint, Source
from localmix.convert.hyper import Hyper, metadata, shapes
from localmix.convert.loss import Sensitivity
from localmix.convert.matrix import Held
from localmix.errors import LocalmixError
from quant.recipe import RECIPES, Model, Row

MIXTRAL = Hyper("mixtral", 32, 4096, 14336, 32, 8, 128, 32000, 32768, 1e-5, 1e6, 8, 2)
# Wikitext-2 perplexity of Mixtral 8x7B over that of Q8_0, as published for recipes of these names (see FACTS).
PUBLISHED = {"Q2_K": 0.209, "Q3_K_M": 0.0437, "Q4_0": 0.0229, "Q4_K_S": 0.0172, "Q4_K_M": 0.0145, "Q5_0": 0.0071}


@pytest.fixture(scope="module")
def mixtral() -> Checkpoint:
    """All of it but the weights."""
    nothing = Held(np.zeros((1, 1), np.float32), Path("none"))
    tensors = {name: Source(shape, nothing) for name, shape in shapes(MIXTRAL)}
    return Checkpoint(Path("mixtral"), (), Model(32, 8), metadata(MIXTRAL), tensors)


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
    with pytest.raises(LocalmixError, match=r"the weights may take 11\.7 GB, the least they can is 15\.3 GB"):
        budget.fit(mixtral, [], int(2 * mixtral.weights / 8))


def test_overrides_stay(mixtral: Checkpoint) -> None:
    rows = budget.fit(mixtral, [Row(r"attn_v\.", "q8_0")], int(3.5 * mixtral.weights / 8))
    tensors = convert.make_plan(mixtral, budget.FITTED, rows).tensors
    assert {info.format.name for name, info in tensors.items() if "attn_v" in name} == {"q8_0"}
    assert {info.format.name for name, info in tensors.items() if "gate_inp" in name or "norm" in name} == {"f32"}


def test_rows_that_do_not_divide_get_formats_that_do() -> None:
    odd = Hyper("odd", 2, 96, 160, 4, 2, 24, 64, 128, 1e-5, 1e4)
    nothing = Held(np.zeros((1, 1), np.float32), Path("none"))
    tensors = {name: Source(shape, nothing) for name, shape in shapes(odd)}
    checkpoint = Checkpoint(Path("odd"), (), Model(2, 0), metadata(odd), tensors)
    plan = convert.make_plan(checkpoint, budget.FITTED, budget.fit(checkpoint, [], 6 * checkpoint.weights // 8))
    assert plan.nbytes <= 6 * checkpoint.weights // 8
    assert {info.format.block for info in plan.tensors.values()} <= {1, 32}


def test_the_estimate_orders_published_recipes(mixtral: Checkpoint) -> None:
    found = {name: loss(convert.make_plan(mixtral, RECIPES[name])) for name in PUBLISHED}
    assert sorted(found, key=found.__getitem__) == sorted(PUBLISHED, key=PUBLISHED.__getitem__)
    for name, value in PUBLISHED.items():
        assert 0.5 < found[name] / value < 1.5, (name, found[name])
