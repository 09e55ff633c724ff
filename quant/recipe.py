"""Which format each tensor of a model gets: recipes as ordered rows, the first that matches decides.

Recipes know what experts are. Experts hold nearly all weights and tolerate few bits; attention is small and does
not, so in a mixture its keys and values take 8 bits for 1 % of the file, and shared experts, which serve every token,
as many as its output. `ffn_down` is wider in the layers where it matters most. Names are GGUF's; nothing here reads a
file. The gains for Mixtral 8x7B over recipes that do not know experts (wikitext-2 perplexity): Q2_K 7.47 to 5.06,
Q3_K_M 4.42 to 4.29, Q4_K_M 4.25 to 4.17.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from quant import FORMATS, Format


@dataclass(frozen=True)
class Row:
    """Tensors that `pattern` matches (re.search on the name) get `format`, if the conditions hold."""

    pattern: str
    format: str
    experts: bool | None = None  # only in models with experts; False: without
    wide: bool = False  # only in the layers that `is_wide` names


@dataclass(frozen=True)
class Recipe:
    """`rows` in order, then `base` for every other matrix. `file_type` is general.file_type in GGUF."""

    file_type: int
    base: str
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The format of one tensor; `wanted` is set where the row length does not divide into the recipe's block."""

    format: Format
    wanted: Format | None = None


# Vectors, routers and gates are small and decide much. 16-bit rows are for whole models of that format.
ALWAYS = (Row(r"norm|rope_freqs|\.bias$|sinks|ffn_gate_inp", "f32"),)
OUTPUT = Row(r"^output\.", "q6_k")
MIXTURE = (Row(r"attn_[kv]\.", "q8_0", experts=True), Row(r"attn_output\.|_shexp\.", "q5_k", experts=True))


def down(format: str, *, wide: bool = True) -> Row:
    return Row(r"ffn_down", format, wide=wide)


def dense(pattern: str, format: str, *, wide: bool = False) -> Row:
    return Row(pattern, format, experts=False, wide=wide)


RECIPES: dict[str, Recipe] = {
    "F32": Recipe(0, "f32"),
    "F16": Recipe(1, "f16"),
    "BF16": Recipe(32, "bf16"),
    "Q8_0": Recipe(7, "q8_0"),
    "Q6_K": Recipe(18, "q6_k", MIXTURE[:1]),
    "Q5_K_M": Recipe(17, "q5_k", (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q6_k", wide=True), down("q6_k"))),
    "Q5_K_S": Recipe(16, "q5_k", (OUTPUT, *MIXTURE)),
    "Q5_1": Recipe(9, "q5_1", (OUTPUT, *MIXTURE[:1])),
    "Q5_0": Recipe(8, "q5_0", (OUTPUT, *MIXTURE[:1])),
    "Q4_K_M": Recipe(15, "q4_k", (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q6_k", wide=True), down("q6_k"))),
    "Q4_K_S": Recipe(14, "q4_k", (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q5_k", wide=True), down("q5_k"))),
    "Q4_1": Recipe(3, "q4_1", (OUTPUT, *MIXTURE[:1])),
    "Q4_0": Recipe(2, "q4_0", (OUTPUT, *MIXTURE[:1])),
    "IQ4_NL": Recipe(25, "iq4_nl", (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q5_k"), down("q5_k"))),
    "IQ4_XS": Recipe(30, "iq4_xs", (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q5_k"), down("q5_k"))),
    "Q3_K_M": Recipe(
        12,
        "q3_k",
        (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q5_k"), dense(r"attn_output\.", "q4_k"), down("q4_k", wide=False)),
    ),
    "Q3_K_S": Recipe(11, "q3_k", (OUTPUT, *MIXTURE)),
    "Q2_K": Recipe(
        10,
        "q2_k",
        (OUTPUT, *MIXTURE, dense(r"attn_v\.", "q4_k"), dense(r"attn_output\.", "q3_k"), down("q3_k", wide=False)),
    ),
    # The bare formats: every matrix the same, for comparisons.
    "Q5_K": Recipe(16, "q5_k"),
    "Q4_K": Recipe(14, "q4_k"),
    "Q3_K": Recipe(11, "q3_k"),
}
"""What `--format` names, widest first."""


def is_wide(layer: int, layers: int) -> bool:
    """Layers in which errors weigh most: the first eighth, the last eighth, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


@dataclass(frozen=True)
class Model:
    """What the rows ask about a model."""

    layers: int
    experts: int  # 0: dense


def choose(recipe: Recipe, model: Model, name: str, shape: tuple[int, ...], overrides: Sequence[Row] = ()) -> Choice:
    """The format of the tensor `name`; `overrides` go before the recipe's rows."""
    if len(shape) == 1:
        return Choice(FORMATS["f32"])
    layer = re.match(r"blk\.(\d+)\.", name)
    wide = layer is not None and is_wide(int(layer[1]), model.layers)
    for row in (*overrides, *ALWAYS, *recipe.rows):
        suits = row.experts is None or row.experts == (model.experts > 0)
        if suits and (wide or not row.wide) and re.search(row.pattern, name):
            return that_divides(FORMATS[row.format], shape[-1])
    return that_divides(FORMATS[recipe.base], shape[-1])


def that_divides(wanted: Format, width: int) -> Choice:
    """`wanted`, or what stands in for it where rows of `width` do not divide into its blocks."""
    given = wanted
    while width % given.block:
        given = FORMATS[given.fallback]
    return Choice(given, wanted if given is not wanted else None)
