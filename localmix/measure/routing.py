"""How a mixture of experts routes a text: every token's choices, and what section 5 of the Mixtral paper counts.

Counts are exact; of the model nothing is known but the experts that it says it chose.
L layers with a router · T tokens · E experts · A active experts of a token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localmix.errors import LocalmixError
from localmix.measure.windows import Window, passes

if TYPE_CHECKING:
    from localmix.model import Model

Progress = Callable[[int, int], None]
"""Called with the tokens computed so far and in all."""


@dataclass(frozen=True, eq=False)
class Trace:
    """The experts that served each token of one text, the one of most weight first."""

    name: str  # of the text
    experts: int  # E
    layers: tuple[int, ...]  # the numbers of the L layers that have a router
    ids: NDArray[np.int32]  # (T,)
    windows: NDArray[np.int32]  # (T,) which window a token was computed in
    chosen: NDArray[np.int16]  # (L, T, A)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def active(self) -> int:
        return self.chosen.shape[2]

    @property
    def positions(self) -> NDArray[np.int32]:
        """The place (T,) of each token in its window."""
        starts = np.flatnonzero(np.diff(self.windows, prepend=-1))
        lengths = np.diff(np.append(starts, len(self)))
        return (np.arange(len(self)) - np.repeat(starts, lengths)).astype(np.int32)

    def counts(self, choice: int | None = None) -> NDArray[np.int64]:
        """How many tokens each expert served in each layer (L, E); with `choice` 0 only as the first choice, and so on.

        All choices of a layer add up to A · T.
        """
        chosen = self.chosen if choice is None else self.chosen[:, :, choice : choice + 1]
        found = [np.bincount(layer.ravel(), minlength=self.experts) for layer in chosen]
        return np.array(found, np.int64).reshape(len(self.layers), self.experts)

    def together(self) -> NDArray[np.int64]:
        """How many tokens had both of two experts (L, E, E): symmetric, zero on the diagonal."""
        found = np.zeros((len(self.layers), self.experts**2), np.int64)
        for a in range(self.active):
            for b in range(a):
                pairs = self.chosen[:, :, a].astype(np.int64) * self.experts + self.chosen[:, :, b]  # (L, T)
                found += [np.bincount(layer, minlength=self.experts**2) for layer in pairs]
        matrix = found.reshape(len(self.layers), self.experts, self.experts)
        return matrix + matrix.swapaxes(1, 2)

    def repeats(self) -> "Repeats":
        """How often a token keeps experts of the one before it in its window."""
        follows = self.windows[1:] == self.windows[:-1]
        before, after = self.chosen[:, :-1][:, follows], self.chosen[:, 1:][:, follows]  # (L, pairs, A)
        first = (before[:, :, 0] == after[:, :, 0]).sum(axis=1)
        kept = np.zeros(before.shape[:2], bool)
        for a in range(self.active):
            kept |= (before == after[:, :, a : a + 1]).any(axis=2)
        return Repeats(int(follows.sum()), first, kept.sum(axis=1))


@dataclass(frozen=True, eq=False)
class Repeats:
    """Of `pairs` of consecutive tokens, how many (L,) have the same first choice, and any expert in common."""

    pairs: int
    first: NDArray[np.int64]
    either: NDArray[np.int64]

    def __add__(self, other: "Repeats") -> "Repeats":
        return Repeats(self.pairs + other.pairs, self.first + other.first, self.either + other.either)


def chance(experts: int, active: int) -> tuple[float, float]:
    """What `Repeats` would be, as shares, if experts were drawn at random: Mixtral's are 12.5 % and 46.4 %."""
    return 1 / experts, 1 - comb(experts - active, active) / comb(experts, active)


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts (…, E) as shares of their sum: 1/E each where the load is even. None counted: none."""
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def entropy(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The entropy (…) in bits of shares (…, E): log₂ E where the load is even."""
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return -(share * logs).sum(axis=-1)


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part (…) of all choices that would have to go elsewhere to make shares a those of b (total variation)."""
    return np.abs(a - b).sum(axis=-1) / 2


def lift(together: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much more often two experts (L, E, E) serve one token than if they met by their loads (L, E) alone.

    1 is as often, 0 never; on the diagonal, where there is nothing to meet, it is 0.
    """
    loads = counts[:, :, None].astype(np.float64) * counts[:, None, :]
    loads *= 1 - np.eye(counts.shape[1])
    expected = loads * (together.sum(axis=(1, 2)) / np.maximum(loads.sum(axis=(1, 2)), 1))[:, None, None]
    return together / np.where(expected > 0, expected, 1)


def record(model: "Model", name: str, windows: Sequence[Window], lead: int, progress: Progress | None = None) -> Trace:
    """The choices for all tokens of `windows` but the first `lead` of each, which are not the text's.

    LocalmixError: the model has no experts.
    """
    if not model.network.experts:
        raise LocalmixError(
            f"{model.file.path}: this model is dense: expected a mixture of experts, which has a router"
        )
    for window in windows:
        model.engine.check(window.ids)
    seen: list[NDArray[np.int32]] = []
    ids, begins, chosen = [], [], []
    cache = model.engine.cache(max(map(len, windows), default=1))
    done, total = 0, sum(map(len, windows))
    for batch, _ in passes(windows, cache):
        model.engine.forward(batch, cache, seen.append)
        kept = batch.positions >= lead
        ids.append(batch.ids[kept])
        begins.append((batch.positions == lead)[kept])
        chosen.append(seen.pop()[:, kept].astype(np.int16))  # (L, T, A)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    every = np.concatenate(chosen, axis=1)
    routed = (every >= 0).all(axis=(1, 2))  # layers without a router, such as the first ones of DeepSeek's, say -1
    layers = tuple(np.flatnonzero(routed).tolist())
    within = np.cumsum(np.concatenate(begins), dtype=np.int32) - 1
    return Trace(name, model.network.experts, layers, np.concatenate(ids), within, every[routed])


def joined(traces: Iterable[Trace]) -> Trace:
    """Several texts as one, in their order."""
    every = list(traces)
    first = np.cumsum([0] + [int(t.windows[-1]) + 1 for t in every[:-1]])
    windows = [t.windows + int(start) for t, start in zip(every, first, strict=True)]
    ids, chosen = np.concatenate([t.ids for t in every]), np.concatenate([t.chosen for t in every], axis=1)
    return Trace("all", every[0].experts, every[0].layers, ids, np.concatenate(windows), chosen)
