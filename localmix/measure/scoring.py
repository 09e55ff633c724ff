"""How likely a model holds continuations of contexts, many at once: what benchmarks of choices are made of.

What contexts share is computed once: a preamble, the question of several choices, the choice's own beginning. The
numbers are those of each alone. Logits come a pass at a time and are turned into two numbers a token at once.
W scored tokens of a pass · V vocabulary.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from localmix.answer.scores import totals
from localmix.engine.batch import Batch, cut
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError
from localmix.measure.likelihood import ROWS
from localmix.measure.prefixes import Stretch, tree
from quant.format import Floats

_LOGITS = 128 << 20  # bytes of those of one pass
_PAGES = 256 << 20  # bytes of the pages that a pass may begin
Progress = Callable[[int, int], None]
"""Called with the tokens computed so far and in all."""


class Question(NamedTuple):
    """The ids of a context and its continuation; those from `first` on are scored, at least one before them is not."""

    ids: Sequence[int]
    first: int


@dataclass
class Likelihood:
    """The sum of the continuation's log-probabilities in nats, and whether each of its ids was the most likely."""

    nats: float = 0.0
    greedy: bool = True


@dataclass(eq=False)
class _Work:
    """A stretch to compute: how far it is, and which questions ask what of its rows."""

    stretch: Stretch
    sequence: int | None = None
    done: int = 0
    waiting: int = 0  # children that have not begun
    asked: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # row -> (question, id that follows)


class Scorer:
    """Scores questions on one engine. `computed` and `given` count tokens: with all that is shared, and without."""

    def __init__(self, engine: Engine, context: int | None = None) -> None:
        """LocalmixError: such a context cannot be had."""
        self.computed = self.given = 0
        self._engine = engine
        self._cache = engine.cache(context)
        self._rows = max(_LOGITS // (4 * engine.network.vocabulary), 16)
        self._parts = max(_PAGES // self._cache.page_bytes, 16)

    @property
    def context(self) -> int:
        """Tokens that fit; the last one of a continuation is not fed."""
        return self._cache.context

    def score(self, questions: Sequence[Question], progress: Progress | None = None) -> list[Likelihood]:
        """In their order. LocalmixError: ids that are none, or a question too long for the context."""
        for question in questions:
            self._check(question)
        stretches, ends = tree([question.ids[:-1] for question in questions])
        works = {stretch: _Work(stretch, waiting=len(stretch.children)) for stretch in stretches}
        for number, (question, end) in enumerate(zip(questions, ends, strict=True)):
            _ask(works, number, question, end)
        found = [Likelihood() for _ in questions]
        total = sum(len(stretch.ids) for stretch in stretches)
        self.given += sum(len(question.ids) - 1 for question in questions)
        order = {stretch: number for number, stretch in enumerate(stretches)}
        ready = [order[stretch] for stretch in stretches if stretch.parent is None]  # a heap: what began ends first
        heapify(ready)
        done = 0
        while ready:
            taken = self._take(ready, stretches, works)
            self._compute(taken, found)
            for work, count in taken:
                work.done += count
                done += count
                if work.done < len(work.stretch.ids):
                    heappush(ready, order[work.stretch])
                    continue
                for child in work.stretch.children:
                    heappush(ready, order[child])
                if not work.waiting and work.sequence is not None:
                    self._cache.free(work.sequence)
            if progress is not None:
                progress(done, total)
        self.computed += done
        return found

    def _check(self, question: Question) -> None:
        self._engine.check(question.ids)
        if not 1 <= question.first < len(question.ids):
            raise LocalmixError(
                f"ids from {question.first} of {len(question.ids)}: expected a context and what follows"
            )
        if len(question.ids) - 1 > self.context:
            raise LocalmixError(f"{len(question.ids) - 1} tokens: the context holds {self.context}: cut them")

    def _take(self, ready: list[int], stretches: list[Stretch], works: dict[Stretch, _Work]) -> list[tuple[_Work, int]]:
        """What one pass computes, and how much of each: the first in order, as much as there is room for."""
        taken: list[tuple[_Work, int]] = []
        room, rows = self._engine.chunk, self._rows
        while ready and room and len(taken) < self._parts:
            work = works[stretches[ready[0]]]
            left = len(work.stretch.ids) - work.done
            count = cut(left, min(room, rows) if work.asked else room)
            if not count:
                break
            heappop(ready)
            if work.sequence is None:
                work.sequence = self._begin(work.stretch, works)
            taken.append((work, count))
            room -= count
            rows -= len(_in_pairs(work.asked.keys(), work.done, work.done + count))
        return taken

    def _begin(self, stretch: Stretch, works: dict[Stretch, _Work]) -> int:
        if stretch.parent is None:
            return self._cache.new()
        parent = works[stretch.parent]
        assert parent.sequence is not None
        sequence = self._cache.share(parent.sequence, stretch.start)
        parent.waiting -= 1
        if not parent.waiting:
            self._cache.free(parent.sequence)
        return sequence

    def _compute(self, taken: list[tuple[_Work, int]], found: list[Likelihood]) -> None:
        parts, rows, asked, at = list[tuple[int, int, Sequence[int]]](), list[int](), list[list[tuple[int, int]]](), 0
        for work, count in taken:
            assert work.sequence is not None
            parts.append((work.sequence, work.stretch.start + work.done, work.stretch.ids[work.done :][:count]))
            wanted = _in_pairs(work.asked.keys(), work.done, work.done + count)
            rows += [at + row - work.done for row in wanted]
            asked += [work.asked.get(row, []) for row in wanted]
            at += count
        spare = None
        if at == 1:  # a text of one token, alone: it would be added up in another order than among others
            spare = self._cache.new()
            parts.append((spare, 0, parts[0][2]))
        batch = Batch.of(parts)
        if rows:
            batch = replace(batch, wanted=np.array(rows, np.int32))
        logits = self._engine.forward(batch, self._cache)
        if spare is not None:
            self._cache.free(spare)
        for start in range(0, len(rows), ROWS):
            _add(logits[start : start + ROWS], asked[start : start + ROWS], found)


def _ask(works: dict[Stretch, _Work], number: int, question: Question, end: Stretch) -> None:
    """Note at each row that is scored which id follows."""
    stretch: Stretch | None = end
    while stretch is not None and stretch.end > question.first - 1:
        for row in range(max(question.first - 1, stretch.first), stretch.end):
            works[stretch].asked.setdefault(row - stretch.start, []).append((number, question.ids[row + 1]))
        stretch = stretch.parent


def _in_pairs(asked: Collection[int], start: int, end: int) -> list[int]:
    """The rows from `start` to `end` that are asked for, and beside one that is alone its neighbour.

    A prompt's last layer is computed for wanted rows only, and a single one as decoding does, with other bits.
    """
    rows = {row for row in range(start, end) if row in asked}
    for row in sorted(rows):
        if not {row - 1, row + 1} & rows and end - start > 1:
            rows.add(row - 1 if row > start else row + 1)
    return sorted(rows)


def _add(logits: Floats, asked: list[list[tuple[int, int]]], found: list[Likelihood]) -> None:
    """Rows (W, V) to the questions that ask for them."""
    (most, total), best = totals(logits), logits.argmax(axis=1)
    for row, questions in enumerate(asked):
        for number, id in questions:
            found[number].nats += float((logits[row, id] - most[row, 0]) - total[row, 0])
            found[number].greedy &= bool(best[row] == id)
