"""How well a model predicts a text, as llama.cpp computes it, and how far it is from another model.

Logits come a pass at a time and are turned into a few sums at once: those of a whole text are never held.
W scored tokens of a pass · V vocabulary · L layers · A active experts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localmix.errors import LocalmixError
from localmix.measure.likelihood import ROWS, log_probabilities, nats_of
from localmix.measure.windows import Window, passes
from quant.format import Floats

if TYPE_CHECKING:
    from localmix.model import Model


class Sum:
    """The mean of many numbers, and how uncertain it is."""

    def __init__(self) -> None:
        self.count = 0
        self._total = self._squares = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        self.count += values.size
        self._total += float(values.sum())
        self._squares += float(np.square(values).sum())

    @property
    def mean(self) -> float:
        return self._total / self.count if self.count else float("nan")

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        if self.count < 2:
            return float("nan")
        return float(np.sqrt(max(self._squares / self.count - self.mean**2, 0.0) / (self.count - 1)))


@dataclass
class Score:
    """How well a text is predicted: `nats` a token, the negative logarithm of the probability it was given."""

    nats: Sum = field(default_factory=Sum)

    @property
    def tokens(self) -> int:
        return self.nats.count

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.nats.mean))

    @property
    def error(self) -> float:
        """Standard error of the perplexity."""
        return self.perplexity * self.nats.error


@dataclass
class Comparison:
    """A model against another, the base, on one text.

    `kl` is the divergence KL(base ‖ model) in nats of each scored token; `router` for each layer the share of scored
    tokens for which both chose the same set of experts, empty where there are none to compare.
    """

    score: Score = field(default_factory=Score)
    base: Score = field(default_factory=Score)
    kl: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    same_choice: Sum = field(default_factory=Sum)
    _router: list[Sum] = field(default_factory=list)

    @property
    def kl_mean(self) -> float:
        return float(self.kl.mean(dtype=np.float64)) if self.kl.size else float("nan")

    def kl_percentile(self, percent: float) -> float:
        """50 is the median."""
        return float(np.percentile(self.kl, percent)) if self.kl.size else float("nan")

    @property
    def top1(self) -> float:
        """The share of tokens for which both find the same id most likely."""
        return self.same_choice.mean

    @property
    def router(self) -> list[float]:
        return [layer.mean for layer in self._router]

    def add_choices(self, ours: NDArray[np.int32], theirs: NDArray[np.int32]) -> None:
        """Experts (L, W, A) that each chose."""
        if not ours.size or ours.shape != theirs.shape:
            return
        same = (np.sort(ours, axis=2) == np.sort(theirs, axis=2)).all(axis=2)  # (L, W)
        self._router = self._router or [Sum() for _ in same]
        for layer, values in zip(self._router, same, strict=True):
            layer.add(values.astype(np.float64))


Progress = Callable[[int, int, Score], None]
"""Called with the tokens computed so far and in all, and the estimate so far."""


def measure(model: "Model", windows: Sequence[Window], progress: Progress | None = None) -> Score:
    """The perplexity of `model` on the scored tokens of `windows`."""
    score, done = Score(), 0
    total = sum(map(len, windows))
    for part in _logits(model, windows):
        score.nats.add(nats_of(part.logits, part.targets))
        done += part.tokens
        if progress is not None:
            progress(done, total, score)
    return score


def compare(model: "Model", base: "Model", windows: Sequence[Window], progress: Progress | None = None) -> Comparison:
    """How far `model` is from `base`. LocalmixError: their vocabularies differ."""
    return compare_all([model], base, windows, progress)[0]


def compare_caches(
    model: "Model", kv: str, base: str, windows: Sequence[Window], progress: Progress | None = None
) -> Comparison:
    """How far a model that keeps keys and values as `kv` is from itself when it keeps them as `base`.

    LocalmixError: it cannot keep them so.
    """
    watched = bool(model.network.experts)
    ours, theirs = (_logits(model, windows, watched, kind) for kind in (kv, base))
    return _compared_all([ours], theirs, sum(map(len, windows)), progress)[0]


def compare_all(
    models: Sequence["Model"], base: "Model", windows: Sequence[Window], progress: Progress | None = None
) -> list[Comparison]:
    """How far each of `models` is from `base`, which is computed once for all of them.

    LocalmixError: a vocabulary differs.
    """
    for model in models:
        check_vocabularies(model, base)
    watched = bool(base.network.experts)
    passes_of_all = [_logits(model, windows, watched and bool(model.network.experts)) for model in models]
    return _compared_all(passes_of_all, _logits(base, windows, watched), sum(map(len, windows)), progress)


def _compared_all(
    passes_of_all: Sequence[Iterator["_Part"]], passes_of_base: Iterator["_Part"], total: int, progress: Progress | None
) -> list[Comparison]:
    """Of passes over the same `total` tokens, how far each is from the base's."""
    found, done = [Comparison() for _ in passes_of_all], 0
    divergences: list[list[Floats]] = [[] for _ in passes_of_all]
    for theirs, *others in zip(passes_of_base, *passes_of_all, strict=True):
        for one, ours, nats in zip(found, others, divergences, strict=True):
            nats += _compared(one, ours, theirs)
        done += theirs.tokens
        if progress is not None:
            progress(done, total, found[0].score)
    for one, nats in zip(found, divergences, strict=True):
        one.kl = np.concatenate([one.kl, *nats])
    return found


def _compared(found: Comparison, ours: "_Part", theirs: "_Part") -> list[Floats]:
    """Add what one pass of both gave; the divergences (W,) of its scored tokens."""
    divergences = []
    for rows in ours.blocks():
        q, p = log_probabilities(ours.logits[rows]), log_probabilities(theirs.logits[rows])
        found.score.nats.add(_nats(q, ours.targets[rows]))
        found.base.nats.add(_nats(p, ours.targets[rows]))
        found.same_choice.add((q.argmax(axis=1) == p.argmax(axis=1)).astype(np.float64))
        divergence = (np.exp(p) * (p - q)).sum(axis=1)
        divergences.append(np.maximum(divergence, 0))  # below only by rounding
    found.add_choices(ours.chosen, theirs.chosen)
    return divergences


def check_vocabularies(model: "Model", base: "Model") -> None:
    """LocalmixError: an id does not mean the same to both."""
    key = "tokenizer.ggml.tokens"
    if model.file.metadata[key] != base.file.metadata[key] or model.network.vocabulary != base.network.vocabulary:
        raise LocalmixError(
            f"{base.file.path}: has another vocabulary than {model.file.path}: expected two files of one model"
        )


class _Part(NamedTuple):
    """What one pass gave."""

    tokens: int
    targets: NDArray[np.int64]  # (W,)
    logits: Floats  # (W, V)
    chosen: NDArray[np.int32]  # (L, W, A), empty if not asked for

    def blocks(self) -> Iterator[slice]:
        for start in range(0, self.targets.size, ROWS):
            yield slice(start, start + ROWS)


def _logits(model: "Model", windows: Sequence[Window], watched: bool = False, kv: str | None = None) -> Iterator[_Part]:
    """The logits of the scored tokens, pass by pass; `kv` None: the cache as the model has it."""
    cache = model.engine.cache(max(map(len, windows), default=1), kv)
    for window in windows:
        model.engine.check(window.ids)
    for batch, targets in passes(windows, cache):
        seen: list[NDArray[np.int32]] = []
        logits = model.engine.forward(batch, cache, seen.append if watched else None)
        chosen = seen[0][:, batch.wanted] if seen else np.empty(0, np.int32)
        yield _Part(len(batch), targets, logits, chosen[:, : targets.size] if seen else chosen)


def _nats(log_probabilities: Floats, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(W,)"""
    return -np.take_along_axis(log_probabilities, targets[:, None], axis=1)[:, 0].astype(np.float64)
