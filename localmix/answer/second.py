"""Ids that a second, smaller model of the same vocabulary would choose next: guesses at what the first one will.

It chooses with a copy of the answer's sampler, random numbers included: two models that agree choose alike at any
temperature. Of a text it reads the end and the first id, so that a model that is of no use has cost little. What it
would have chosen in the place of ids that the first one has chosen tells how often they agree before any id is checked.
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
from localmix.network.decoder import Network
from quant.format import Floats

MOST = 1536  # ids of a text that it has in its context
END = 512  # of them, that are read where it begins, or begins anew
HOPE = {0: 0.7}  # how likely each of its ids is the next one, before it was heard: see `localmix.answer.gate`
CHECK = 0.15  # passes of the first model that it takes to check one of its ids
LEAST, HEARD = 8, 16  # ids of an answer that tell how often it agrees, and as many of them as are looked at
_CONTEXT = 32  # ids before them that it has to read, at least
_TOGETHER = 12  # ids that are read in about the time that one takes by itself
_KEY = "tokenizer.ggml."


class Second:
    """One model, whose guesses one answer at a time may have. Its keys and values are in 16 bits.

    `share`: what a pass of it takes, in passes of the first model, by their multiplications.
    """

    def __init__(self, engine: Engine, share: float) -> None:
        self.share = share
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
            rows, read = self._read(text, len(text))
            late, logits = perf_counter() - began if read > 2 else 0.0, rows[0]
            found: list[int] = []
            while True:
                found.append(sampler(logits, [*text, *found]))
                if len(found) == count:
                    return found, late
                logits = self._context.advance(found[-1:])
        finally:
            self._lock.release()

    def before(self, text: Sequence[int], count: int, passes: float) -> tuple[Floats | None, float]:
        """Logits (count, V) before each of the last ids of a text, and about how many passes of the first model it took
        to read as much of it as these allow; None: that is too little, or another answer has it.
        """
        room = min(int((passes / self.share - 1) * _TOGETHER), self._end)
        known = self._before + len(self._context.ids) if self._text is text else 0
        new = min(len(text) - known, room)
        if new < min(len(text) - known, count + _CONTEXT) or not self._lock.acquire(blocking=False):
            return None, 0.0
        try:
            logits, new = self._read(text, len(text) - 1, count, room)
            if new == room < self._end:  # guesses are made with all of the end
                self._context.cut(0)
                self._before = 0
            return logits, self.share * (1 + new / _TOGETHER)
        finally:
            self._lock.release()

    def _read(self, text: Sequence[int], end: int, rows: int = 1, most: int = MOST) -> tuple[Floats, int]:
        """Logits (rows, V) after the last ids of the text up to an end, and how many of its ids were read for them, at
        `most` so many.
        """
        context, most = self._context, min(most, self._end)
        if self._text is not text:
            self._text, self._same = text, 0
        same = self._same
        while same < min(len(context.ids), end - self._before - rows) and context.ids[same] == self._at(same):
            same += 1
        new = end - self._before - same
        if same == 0 or new > most or same + new + self._end > context.size or not context.can_cut(same):
            self._before, same = max(end - most, 0), 0
            new = end - self._before
        context.cut(same)
        logits = context.advance_told([self._at(same + i) for i in range(new)], rows)
        self._same = len(context.ids)
        return logits, new

    def _at(self, place: int) -> int:
        """The id of the text that belongs at a place of the context."""
        return self._text[place + self._before if place else 0]


class Guesses:
    """Of one answer."""

    def __init__(self, second: Second, ids: Sequence[int], sampler: Sampler) -> None:
        self.late = 0.0  # seconds that it took to catch up with the text
        self._second, self._ids, self._sampler = second, list(ids), sampler
        self._prompt, self._then = len(ids), sampler.fork()  # before the first id of the answer

    def push(self, id: int) -> None:
        """An id was chosen."""
        self._ids.append(id)

    def look(self, most: int) -> tuple[int, int]:
        """How many ids there may be, and that none need be the same before them."""
        return most, 0

    def agree(self, passes: float) -> tuple[int, int, float]:
        """How many of the last ids of the answer the second model would have chosen, of how many, and about how many
        passes it took to know, no more than allowed; of none: there is too little yet that tells.
        """
        began, ids = perf_counter(), self._ids
        self.late, first = 0.0, max(len(ids) - HEARD, self._prompt)
        if len(ids) - self._prompt < LEAST:
            return 0, 0, 0.0
        try:
            logits, spent = self._second.before(ids, len(ids) - first, passes)
            if logits is None:
                return 0, 0, 0.0
            then = self._then.fork()
            for id in ids[self._prompt : first]:
                then.follow(id)
            hits = 0
            for at, row in enumerate(logits, first):
                hits += then.fork()(row, ids[:at]) == ids[at]
                then.follow(ids[at])
        except LocalmixError:  # of its logits
            return 0, len(ids) - first, passes
        self.late = perf_counter() - began
        return hits, len(ids) - first, spent

    def guess(self, count: int) -> list[int]:
        try:
            found, self.late = self._second.guess(self._ids, count, self._sampler.fork())
        except LocalmixError:  # of the second model's logits: what the answer is made of is all right
            return []
        return found


def open_second(path: Path, backend: Backend, first: gguf.File, larger: Network) -> tuple[Second, int]:
    """The model in a file, on the backend of the `first` one, whose network is `larger`, and the bytes that it takes.

    LocalmixError: it has another vocabulary.
    """
    file = gguf.open(path)
    if other := difference(file.metadata, first.metadata):
        raise LocalmixError(f"--draft {path}: expected the vocabulary of {first.path}, found another: {other}")
    loaded = network.load(file)
    with concerning(path):
        second = Second(Engine(loaded, backend), loaded.work / larger.work)
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
