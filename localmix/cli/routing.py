"""What `localmix routes` says of texts and a pool of experts, as tables for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from localmix.amounts import amount
from localmix.cli.tables import Row, Tables

if TYPE_CHECKING:
    from localmix.measure.pool import Rates
    from localmix.measure.routes import Routes

SHOWN = 8  # experts of a layer in a row
POLICIES = ("LRU", "LFU", "LFU, fading", "pinned", "best possible")
LAYERS = ("layer", "busiest", "least used", "even", "first", "any", "most together", "apart")
POOL = ("pool", "slots", "LRU", "LFU", "fading", "pinned", "best", "read per token")
NUMBERS = frozenset({*POOL, *LAYERS, "tokens", *(f"{i}" for i in range(SHOWN))} - {"most together"})


def tables(routes: "Routes", rates: "Sequence[Rates]") -> Tables:
    """Of each layer all texts together, then text by text the layers that the paper shows: first, middle, last."""
    return {
        "layers": (LAYERS, layer_rows(routes)),
        "share of choices in %": (_share_head(routes), share_rows(routes)),
        "tokens that keep their first expert, or any": (("text", "tokens", *_kept_head(routes)), kept_rows(routes)),
        "uses that find their expert in memory": (POOL, pool_rows(rates)),
    }


EXPLAINED = """\
even: as many experts, evenly used, would be as well balanced · first, any: tokens that keep the first expert of the
token before, or any of its experts · most together: the two that most often serve one token, and how much more often
than by chance · apart: choices that would have to go elsewhere to make a text like all of them together, at most
"""


def layer_rows(routes: "Routes") -> list[Row]:
    """A row a layer, and what chance would give."""
    total, repeats, rows = routes.total, routes.all_repeats, list[Row]()
    pairs = max(repeats.pairs, 1)
    for i, layer in enumerate(routes.layers):
        most, least = int(total[i].argmax()), int(total[i].argmin())
        a, b = routes.pairs[i]
        rows.append(
            (
                str(layer),
                f"{most}: {total[i, most]:.1%}",
                f"{least}: {total[i, least]:.1%}",
                f"{routes.effective[i]:.1f}",
                f"{repeats.first[i] / pairs:.1%}",
                f"{repeats.either[i] / pairs:.1%}",
                f"{min(a, b)} + {max(a, b)}: ×{routes.lift[i, a, b]:.2f}" if routes.active > 1 else "",
                f"{routes.apart[i]:.1%}" if len(routes.traces) > 1 else "",
            )
        )
    first, either = routes.chance
    return [*rows, ("chance", *[f"{1 / routes.experts:.1%}"] * 2, "", f"{first:.1%}", f"{either:.1%}", "×1.00", "")]


def _share_head(routes: "Routes") -> Row:
    many = routes.experts > SHOWN
    return ("layer", "text", *(f"{i + 1}." if many else f"{i}" for i in range(min(SHOWN, routes.experts))))


def share_rows(routes: "Routes") -> list[Row]:
    """Figure 7 of the paper: the share of each expert; where there are many, of those used most."""
    rows: list[Row] = []
    for i in middle(len(routes.layers)):
        for n, trace in enumerate(routes.traces):
            share = routes.share[n, i]
            if routes.experts <= SHOWN:
                cells = [f"{100 * one:.1f}" for one in share]
            else:
                cells = [f"{e}: {100 * share[e]:.1f}" for e in (-share).argsort(kind="stable")[:SHOWN]]
            rows.append((str(routes.layers[i]), trace.name, *cells))
    return rows


def _kept_head(routes: "Routes") -> Row:
    names = [(f"{routes.layers[i]}: first", "any") for i in middle(len(routes.layers))]
    return [name for pair in names for name in pair]


def kept_rows(routes: "Routes") -> list[Row]:
    """Table 5 of the paper."""
    rows: list[Row] = []
    for trace, repeats in zip(routes.traces, routes.repeats, strict=True):
        pairs = max(repeats.pairs, 1)
        cells = [
            f"{kind[i] / pairs:.1%}" for i in middle(len(routes.layers)) for kind in (repeats.first, repeats.either)
        ]
        rows.append((trace.name, str(len(trace)), *cells))
    return [*rows, ("chance", "", *[f"{share:.1%}" for _ in middle(len(routes.layers)) for share in routes.chance])]


def pool_rows(rates: "Sequence[Rates]") -> list[Row]:
    """Hit rates of pools of each size."""
    return [
        (
            amount(one.bytes, "B"),
            f"{one.slots} of {one.experts}",
            *(f"{one.hits[policy]:.1%}" for policy in POLICIES),
            amount(round(one.read["LFU, fading"]), "B"),
        )
        for one in rates
    ]


def middle(layers: int) -> list[int]:
    """The first layer, the middle one and the last: 0, 15 and 31 of 32."""
    return sorted({0, (layers - 1) // 2, layers - 1})
