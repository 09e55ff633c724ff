"""Whether a context holds: a number is hidden in a long text, at some depth, and asked for at the end.

The test that the Mixtral paper reports (section 3.2), after Mohtashami and Jaggi (arXiv:2305.16300), in words of our
own: filler that says nothing, one sentence with the key, a question. The key counts as found if a greedy answer gives
all of it. Of all texts with the same filler only what differs is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from localmix.errors import LocalmixError
from localmix.measure.likelihood import nats_of
from localmix.measure.perplexity import Score
from localmix.measure.prefixes import alike_up_to
from localmix.measure.scoring import Progress, Question, Scorer
from localmix.measure.windows import Window, passes

if TYPE_CHECKING:
    from localmix.model import Model
    from localmix.tokenizer import Tokenizer

_HEAD = "A pass key is hidden somewhere in this text. Find it and keep it in mind: it is asked for at the end.\n"
_FILLER = (
    "The river runs down to the sea. ",
    "Rain falls on the hills. ",
    "The wind moves the leaves. ",
    "A road leads over the bridge. ",
)
_KEY = "The pass key is {key}. Remember it: {key} is the pass key. "
_TAIL = "\nWhat is the pass key? The pass key is"


@dataclass(frozen=True)
class Trial:
    """One text: at most `length` tokens with the answer, the key at `depth` of the filler, 0 first and 1 last."""

    length: int
    depth: float
    key: int
    question: Question


@dataclass(frozen=True, eq=False)
class Grid:
    """Shares of keys found, and the mean log-probability of a key in nats: rows are depths, columns are lengths."""

    lengths: Sequence[int]
    depths: Sequence[float]
    keys: int  # in each cell
    found: NDArray[np.float64]
    nats: NDArray[np.float64]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "lengths": list(self.lengths),
            "depths": list(self.depths),
            "keys": self.keys,
            "found": self.found.tolist(),
            "nats": self.nats.tolist(),
        }


def trials(
    tokenizer: "Tokenizer", lengths: Sequence[int], depths: Sequence[float], keys: int, seed: int = 0
) -> list[Trial]:
    """A text for each length, depth and key; keys are the same in every cell. LocalmixError: a length too short."""
    numbers = np.random.RandomState(seed).randint(10_000, 100_000, keys).tolist()
    found = []
    for length in lengths:
        sentences = _room(tokenizer, length)
        found += [
            Trial(length, depth, key, _question(tokenizer, sentences, depth, key))
            for depth in depths
            for key in numbers
        ]
    return found


def measure(model: "Model", asked: Sequence[Trial], progress: Progress | None = None) -> Grid:
    """How many are found. LocalmixError: a text that is longer than the model's context."""
    lengths, depths = sorted({t.length for t in asked}), sorted({t.depth for t in asked})
    scorer = Scorer(model.engine, min(max(lengths), model.network.context))
    likely = scorer.score([trial.question for trial in asked], progress)
    found, nats = np.zeros((len(depths), len(lengths))), np.zeros((len(depths), len(lengths)))
    keys = len(asked) // found.size
    for trial, one in zip(asked, likely, strict=True):
        cell = depths.index(trial.depth), lengths.index(trial.length)
        found[cell] += one.greedy / keys
        nats[cell] += one.nats / keys
    return Grid(lengths, depths, keys, found, nats)


@dataclass(frozen=True, eq=False)
class Reach:
    """How well tokens are predicted that have `start` to `end` - 1 tokens before them in their window."""

    start: int
    end: int
    score: Score

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        score = self.score
        return {"from": self.start, "to": self.end, "tokens": score.tokens, "perplexity": score.perplexity}


def reach(model: "Model", windows: Sequence[Window], progress: Callable[[int, int], None] | None = None) -> list[Reach]:
    """Perplexity against context: tokens of all windows by how many come before, in powers of two from 16 on."""
    longest = max(map(len, windows), default=1)
    edges = [0, *(1 << n for n in range(4, 40) if 1 << n < longest), longest]
    found = [Reach(start, end, Score()) for start, end in pairwise(edges)]
    whole = [Window(window.ids, 0) for window in windows]
    for window in whole:
        model.engine.check(window.ids)
    done, total, cache = 0, sum(map(len, whole)), model.engine.cache(longest)
    for batch, targets in passes(whole, cache):
        logits = model.engine.forward(batch, cache)
        before = batch.positions[batch.wanted][: len(targets)] + 1  # of the token that is predicted
        nats = nats_of(logits, targets)
        for one in found:
            one.score.nats.add(nats[(before >= one.start) & (before < one.end)])
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return [one for one in found if one.score.tokens]


def _room(tokenizer: "Tokenizer", length: int) -> int:
    """The most sentences of filler with which no text is longer than `length` tokens."""

    def tokens(sentences: int) -> int:
        return max(len(_question(tokenizer, sentences, depth, 99_999).ids) for depth in (0.0, 0.5, 1.0)) + _SPARE

    if tokens(0) > length:
        raise LocalmixError(f"a length of {length} tokens: expected {tokens(0)} or more, for the key and the question")
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens(middle) <= length else (low, middle)
    return low


_SPARE = 4  # tokens by which another key or place may be longer


def _question(tokenizer: "Tokenizer", sentences: int, depth: float, key: int) -> Question:
    filler = [_FILLER[i % len(_FILLER)] for i in range(sentences)]
    at = round(depth * sentences)
    text = _HEAD + "".join(filler[:at]) + _KEY.format(key=key) + "".join(filler[at:]) + _TAIL
    before, whole = tokenizer.encode(text, eos=False), tokenizer.encode(f"{text} {key}", eos=False)
    return Question(whole, alike_up_to(before, whole))
