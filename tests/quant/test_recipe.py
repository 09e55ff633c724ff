"""Recipes: who gets what, and what happens to rows that do not divide."""

import pytest

from quant import FORMATS
from quant.recipe import RECIPES, Model, Row, choose, is_wide, that_divides

MIXTRAL, DENSE = Model(layers=32, experts=8), Model(layers=32, experts=0)
Q4_K_M = RECIPES["Q4_K_M"]


@pytest.mark.parametrize(
    ("model", "name", "shape", "expected"),
    [
        (MIXTRAL, "token_embd.weight", (32000, 4096), "q4_k"),
        (MIXTRAL, "output.weight", (32000, 4096), "q6_k"),
        (MIXTRAL, "output_norm.weight", (4096,), "f32"),
        (MIXTRAL, "blk.7.attn_q.weight", (4096, 4096), "q4_k"),
        (MIXTRAL, "blk.7.attn_k.weight", (1024, 4096), "q8_0"),
        (MIXTRAL, "blk.7.attn_v.weight", (1024, 4096), "q8_0"),
        (MIXTRAL, "blk.7.attn_output.weight", (4096, 4096), "q5_k"),
        (MIXTRAL, "blk.7.ffn_gate_inp.weight", (8, 4096), "f32"),
        (MIXTRAL, "blk.7.ffn_gate_exps.weight", (8, 14336, 4096), "q4_k"),
        (MIXTRAL, "blk.7.ffn_down_exps.weight", (8, 4096, 14336), "q4_k"),
        (MIXTRAL, "blk.0.ffn_down_exps.weight", (8, 4096, 14336), "q6_k"),
        (DENSE, "blk.7.attn_k.weight", (1024, 4096), "q4_k"),
        (DENSE, "blk.7.attn_v.weight", (1024, 4096), "q4_k"),
        (DENSE, "blk.31.attn_v.weight", (1024, 4096), "q6_k"),
        (DENSE, "blk.31.ffn_down.weight", (4096, 14336), "q6_k"),
    ],
)
def test_q4_k_m(model: Model, name: str, shape: tuple[int, ...], expected: str) -> None:
    choice = choose(Q4_K_M, model, name, shape)
    assert (choice.format.name, choice.wanted) == (expected, None)


def test_wide_layers_are_both_ends_and_every_third_between() -> None:
    assert [layer for layer in range(32) if is_wide(layer, 32)] == [
        0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31
    ]  # fmt: skip


def test_overrides_go_first_but_vectors_stay_exact() -> None:
    overrides = [Row(r"blk\.3\.", "q8_0"), Row("", "f16")]
    assert choose(Q4_K_M, MIXTRAL, "blk.3.ffn_up_exps.weight", (8, 512, 256), overrides).format.name == "q8_0"
    assert choose(Q4_K_M, MIXTRAL, "blk.30.ffn_up_exps.weight", (8, 512, 256), overrides).format.name == "f16"
    assert choose(Q4_K_M, MIXTRAL, "blk.3.attn_norm.weight", (256,), overrides).format.name == "f32"


@pytest.mark.parametrize(
    ("wanted", "width", "given"),
    [("q4_k", 512, "q4_k"), ("q4_k", 288, "q5_0"), ("q6_k", 32, "q8_0"), ("q2_k", 172, "f16"), ("f16", 1, "f16")],
)
def test_rows_that_do_not_divide_get_a_smaller_block(wanted: str, width: int, given: str) -> None:
    choice = that_divides(FORMATS[wanted], width)
    assert choice.format.name == given
    assert choice.wanted == (None if given == wanted else FORMATS[wanted])


def test_every_recipe_names_formats_that_can_be_written() -> None:
    for recipe in RECIPES.values():
        for name in (recipe.base, *(row.format for row in recipe.rows)):
            assert FORMATS[name].quantize


def test_some_format_fits_rows_of_any_width() -> None:
    for format in FORMATS.values():
        assert that_divides(format, 1).format.block == 1
