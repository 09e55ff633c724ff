"""Several texts routed by one model, side by side: what tables and pictures are made of.

N texts · L layers with a router · E experts · A active experts of a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmix.measure import routing
from localmix.measure.routing import Repeats, Trace, shares


@dataclass(frozen=True, eq=False)
class Routes:
    """One trace for each text, of one model."""

    traces: Sequence[Trace]

    @property
    def experts(self) -> int:
        return self.traces[0].experts

    @property
    def active(self) -> int:
        return self.traces[0].active

    @property
    def layers(self) -> tuple[int, ...]:
        return self.traces[0].layers

    @property
    def tokens(self) -> int:
        return sum(map(len, self.traces))

    @property
    def chance(self) -> tuple[float, float]:
        """Shares of tokens that would keep their first, and any, expert if all were drawn at random."""
        return routing.chance(self.experts, self.active)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(N, L, E)"""
        return np.stack([trace.counts() for trace in self.traces])

    @cached_property
    def first_counts(self) -> NDArray[np.int64]:
        """(N, L, E)"""
        return np.stack([trace.counts(0) for trace in self.traces])

    @cached_property
    def together(self) -> NDArray[np.int64]:
        """(L, E, E), of all texts."""
        return np.sum([trace.together() for trace in self.traces], axis=0)

    @cached_property
    def repeats(self) -> list[Repeats]:
        """N of them."""
        return [trace.repeats() for trace in self.traces]

    @property
    def all_repeats(self) -> Repeats:
        first, *others = self.repeats
        return sum(others, first)

    @property
    def share(self) -> NDArray[np.float64]:
        """Of all choices, text by text (N, L, E)."""
        return shares(self.counts)

    @property
    def total(self) -> NDArray[np.float64]:
        """Of all choices of all texts (L, E)."""
        return shares(self.counts.sum(axis=0))

    @property
    def effective(self) -> NDArray[np.float64]:
        """As many experts, evenly used, would have the load's entropy (L,): E where it is even."""
        return np.exp2(routing.entropy(self.total))

    @property
    def apart(self) -> NDArray[np.float64]:
        """The most (L,) by which one text's shares differ from those of all: 0 alike, 1 nothing in common."""
        return routing.distance(self.share, self.total).max(axis=0)

    @property
    def lift(self) -> NDArray[np.float64]:
        """See `routing.lift` (L, E, E)."""
        return routing.lift(self.together, self.counts.sum(axis=0))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The two experts that serve most tokens together, for each layer."""
        best = self.together.reshape(len(self.layers), -1).argmax(axis=1)
        return [divmod(int(pair), self.experts) for pair in best]

    def as_dict(self) -> dict[str, Any]:
        """For programs: exact counts, and shares of pairs of tokens."""
        texts = [
            {
                "name": trace.name,
                "tokens": len(trace),
                "counts": self.counts[n].tolist(),
                "first_choice_counts": self.first_counts[n].tolist(),
                "pairs": repeats.pairs,
                "first_choice_repeats": repeats.first.tolist(),
                "any_choice_repeats": repeats.either.tolist(),
            }
            for n, (trace, repeats) in enumerate(zip(self.traces, self.repeats, strict=True))
        ]
        return {
            "experts": self.experts,
            "active": self.active,
            "layers": list(self.layers),
            "chance": {"first_choice_repeats": self.chance[0], "any_choice_repeats": self.chance[1]},
            "effective_experts": self.effective.tolist(),
            "texts_apart": self.apart.tolist(),
            "together": self.together.tolist(),
            "texts": texts,
        }
