"""What the report of `localmix routes` shows, in numbers that its script draws; a text is quoted from its beginning."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.measure.pool import Rates
from localmix.measure.routes import Routes
from localmix.measure.routing import Trace, entropy, shares
from localmix.tokenizer import Tokenizer

CHOICES = 600_000  # experts of tokens that are quoted, in all texts and layers: 0.8 MB of the page
QUOTED = 4_000  # tokens of a text at most
CELLS = 60_000  # of the pictures of pairs; where all layers have more, three are shown


def data(
    routes: Routes, rates: Sequence[Rates], tokenizer: Tokenizer, facts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The whole content of the report. `facts` are what its head says of the model."""
    layers = len(routes.layers)
    most = min(CHOICES // (layers * routes.active * len(routes.traces)), QUOTED)
    shown = range(layers) if layers * routes.experts**2 <= CELLS else sorted({0, (layers - 1) // 2, layers - 1})
    together = routes.lift
    return {
        "facts": list(facts),
        "experts": routes.experts,
        "active": routes.active,
        "layers": list(routes.layers),
        "chance": list(routes.chance),
        "apart": _rounded(routes.apart),
        "texts": [_text(routes, n, trace, tokenizer, most) for n, trace in enumerate(routes.traces)],
        "pairs": [{"layer": routes.layers[i], "lift": _rounded(together[i], 2)} for i in shown]
        if routes.active > 1
        else [],
        "pools": [{"bytes": one.bytes, "slots": one.slots, "experts": one.experts, "hits": one.hits} for one in rates],
    }


def _text(routes: Routes, n: int, trace: Trace, tokenizer: Tokenizer, most: int) -> dict[str, Any]:
    repeats, count = routes.repeats[n], min(most, len(trace))
    stream, pieces = tokenizer.stream(), list[str]()
    for id in trace.ids[:count].tolist():
        pieces.append(stream.push(id))
    return {
        "name": trace.name,
        "tokens": len(trace),
        "share": _rounded(routes.share[n]),
        "first": _rounded(shares(routes.first_counts[n])),
        "even": _rounded(np.exp2(entropy(routes.share[n])), 2),
        "keptFirst": _rounded(repeats.first / max(repeats.pairs, 1)),
        "keptAny": _rounded(repeats.either / max(repeats.pairs, 1)),
        "pieces": pieces,
        "chosen": _encoded(trace.chosen[:, :count], trace.experts),
    }


def _encoded(chosen: NDArray[np.int16], experts: int) -> str:
    """Choices (L, n, A) as base64: of bytes, or of two for each where there are more than 256 experts."""
    kind = "u1" if experts <= 256 else "<u2"
    return base64.b64encode(np.ascontiguousarray(chosen).astype(kind).tobytes()).decode()


def _rounded(values: NDArray, digits: int = 4) -> Any:
    return np.round(values, digits).tolist()
