"""Ids that a second, smaller model of the same vocabulary would choose next: guesses at what the first one will.

It chooses with a copy of the answer's sampler, random numbers included: two models that agree choose alike at any
temperature. Of a text it reads the end and the first id, so that a model that is of no use has cost little.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from localmix import gguf, network
from localmix.answer.sampling import Sampler
from localmix.backends.protocol import Backend
from localmix.engine.context import Context
from localmix.engine.engine import Engine
from localmix.errors import LocalmixError, concerning
from quant.format import Floats

MOST = 1536  # ids of a text that it has in its context
END = 512  # of them, that are read where it begins, or begins anew
# For `localmix.answer.gate`, before any of its ids was checked: how likely each is the next one, and what it costs,
# less than it will, so that the first draft has several ids: by one alone not even the best of models gains anything.
HOPE, GUESS = {0: 0.7}, 0.15
_KEY = "tokenizer.ggml."


class Second:
    """One model, whose guesses one answer at a time may have. Its keys and values are in 16 bits."""

    def __init__(self, engine: Engine) -> None:
        self._context = Context(engine, min(MOST, engine.network.context), "f16")
        self._end = min(END, self._context.size // 2)
        self._lock = threading.Lock()
        self._text: Sequence[int] = ()  # the one that is followed
        self._same = self._before = 0  # ids of it that the context is known to have; those left out after the first
        for warm in ([0, 0], [0]):  # its kernels are there, and its weights, before anybody waits for them
            self._context.advance(warm)
        self._context.cut(0)

    @property
    def nbytes(self) -> int:
        """Of keys and values, at most."""
        return self._context.cache.needs(self._context.size)

    def guess(self, text: Sequence[int], count: int, sampler: Sampler) -> tuple[list[int], float]:
        """`count` ids after a text, chosen by `sampler`; and the seconds that reading the text took, where that was
        more than the ids chosen last. No ids: another answer has it.
        """
        if not self._lock.acquire(blocking=False):
            return [], 0.0
        try:
            began = perf_counter()
            logits, read = self._read(text)
            late = perf_counter() - began if read > 2 else 0.0
            found: list[int] = []
            while True:
                found.append(sampler(logits, [*text, *found]))
                if len(found) == count:
                    return found, late
                logits = self._context.advance(found[-1:])
        finally:
            self._lock.release()

    def _read(self, text: Sequence[int]) -> tuple[Floats, int]:
        """Logits (V,) after the text, and how many of its ids were read for them."""
        context = self._context
        if self._text is not text:
            self._text, self._same = text, 0
        same = self._same
        while same < min(len(context.ids), len(text) - self._before - 1) and context.ids[same] == self._at(same):
            same += 1
        new = len(text) - self._before - same
        if same == 0 or new > self._end or same + new + self._end > context.size or not context.can_cut(same):
            self._before, same = max(len(text) - self._end, 0), 0
            new = len(text) - self._before
        context.cut(same)
        logits = context.advance([self._at(same + i) for i in range(new)])
        self._same = len(context.ids)
        return logits, new

    def _at(self, place: int) -> int:
        """The id of the text that belongs at a place of the context."""
        return self._text[place + self._before if place else 0]


class Guesses:
    """Of one answer."""

    def __init__(self, second: Second, ids: Sequence[int], sampler: Sampler) -> None:
        self.late = 0.0  # seconds of the last guess that it took to catch up with the text
        self._second, self._ids, self._sampler = second, list(ids), sampler

    def push(self, id: int) -> None:
        """An id was chosen."""
        self._ids.append(id)

    def look(self, most: int) -> tuple[int, int]:
        """How many ids there may be, and that none need be the same before them."""
        return most, 0

    def guess(self, count: int) -> list[int]:
        try:
            found, self.late = self._second.guess(self._ids, count, self._sampler.fork())
        except LocalmixError:  # of the second model's logits: what the answer is made of is all right
            return []
        return found


def open_second(path: Path, backend: Backend, first: gguf.File) -> tuple[Second, int]:
    """The model in a file, on the backend of the `first` one, and the bytes that it takes.

    LocalmixError: it has another vocabulary.
    """
    file = gguf.open(path)
    if other := difference(file.metadata, first.metadata):
        raise LocalmixError(f"--draft {path}: expected the vocabulary of {first.path}, found another: {other}")
    loaded = network.load(file)
    with concerning(path):
        second = Second(Engine(loaded, backend))
    return second, sum(tensor.nbytes for tensor in file.tensors.values()) + second.nbytes


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What is not the same in two vocabularies, in a few words; empty: nothing."""
    tokens, others = ours.get(f"{_KEY}tokens", []), theirs.get(f"{_KEY}tokens", [])
    if len(tokens) != len(others):
        return f"{len(tokens)} tokens, not {len(others)}"
    for id, (one, other) in enumerate(zip(tokens, others, strict=True)):
        if one != other:
            return f"token {id} is {one!r}, not {other!r}"
    for key in sorted(ours.keys() & theirs.keys()):
        if key.startswith(_KEY) and key.endswith("_token_id") and ours[key] != theirs[key]:
            return f"{key.removeprefix(_KEY)} is {ours[key]}, not {theirs[key]}"
    return ""
